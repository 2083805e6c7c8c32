"""Exports at a temperature: other probabilities, the same decisions."""

import json

import numpy as np
import pytest
from support.drawn_variables import drawn_state
from support.made_runs import made_run

from hpa_jax.errors import InputError
from hpa_jax.evaluation import score_table
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.main import main
from hpa_jax.metrics.temperature import apply_temperature, fit_temperature
from hpa_jax.serving.artifact import load
from hpa_jax.serving.reliability import stored_temperature


@pytest.mark.slow
def test_without_stored_scores_it_is_refused(small_data, tmp_path):
    predictor = Predictor(made_run(tmp_path, small_data), tmp_path)
    with pytest.raises(InputError, match="has no scores of validation of checkpoint 1") as caught:
        stored_temperature(predictor)
    assert "--config.data.eval_split=validation first" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_probabilities_are_tempered_and_decisions_stay(small_data, tmp_path):
    run = tmp_path / "run"
    made_run(run, small_data, changed=drawn_state, model__head="attention")
    call = [f"--workdir={run}", "--config.export.onnx=float32"]
    evaluated = ["--mode=evaluate", f"--workdir={run}", "--config.data.eval_split=validation"]
    assert main(evaluated) == 0
    assert main(["--mode=export", *call, f"--config.export.folder={tmp_path}/plain"]) == 0
    tempered = [f"--config.export.folder={tmp_path}/tempered", "--config.export.temperature=True"]
    assert main(["--mode=export", *call, *tempered]) == 0

    table = score_table.load(run / "scores" / "validation.npz")
    temperature = fit_temperature(table.scores, table.targets)
    assert abs(temperature - 1) > 0.05
    described = {}
    decided = {}
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 4), np.uint8)
    probabilities = {}
    for name in ("plain", "tempered"):
        described[name] = json.loads((tmp_path / name / "model.json").read_text())
        probabilities[name] = load(tmp_path / name, "onnx").probabilities(images)
        decided[name] = probabilities[name] > np.array(described[name]["thresholds"])
    assert described["plain"]["temperature"] == 1
    assert described["tempered"]["temperature"] == pytest.approx(temperature)
    expected = apply_temperature(probabilities["plain"], temperature)
    np.testing.assert_allclose(probabilities["tempered"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(decided["tempered"], decided["plain"])
    cards = {name: (tmp_path / name / "README.md").read_text() for name in described}
    assert "calibration error" in cards["plain"]
    assert "calibration error" not in cards["tempered"]
    assert f"at the temperature {temperature:.4g}" in cards["tempered"]
