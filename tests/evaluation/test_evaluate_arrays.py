"""Anyone's score arrays from the command line: one, several as an ensemble, with groups."""

import json

import numpy as np
import pytest
from support.score_cases import several_models

from hpa_jax import main as command
from hpa_jax.metrics import crossfit, stacking


@pytest.fixture
def arrays(tmp_path):
    scores, targets = several_models(3, 120, 4, seed=1)
    for number, array in enumerate(scores):
        np.save(tmp_path / f"scores{number}.npy", array)
    np.save(tmp_path / "targets.npy", targets)
    np.save(tmp_path / "groups.npy", np.arange(120) // 4)
    return tmp_path, scores, targets


def evaluated(folder, *flags):
    status = command.main(
        [
            "--mode=evaluate",
            f"--workdir={folder / 'out'}",
            f"--config.evaluate.targets={folder / 'targets.npy'}",
            "--config.evaluate.replicates=20",
            *flags,
        ]
    )
    assert status == 0
    return json.loads((folder / "out" / "evaluation.json").read_text())


def several(folder):
    return "--config.evaluate.scores=" + ",".join(str(folder / f"scores{n}.npy") for n in range(3))


def test_several_arrays_are_an_ensemble(arrays, capsys):
    folder, scores, targets = arrays
    found = evaluated(folder, several(folder), f"--config.evaluate.groups={folder / 'groups.npy'}")
    groups = np.arange(120) // 4
    averaged, _ = stacking.crossfit_mean(scores, targets, folds=5, seed=0, groups=groups)
    expected = crossfit(averaged, targets, folds=5, seed=0, groups=groups, few_positives=5)[
        "crossfit"
    ]
    assert found["macro_f1_crossfit"] == pytest.approx(expected["macro_f1"], abs=1e-12)
    weights = [model["weight"] for model in found["models"]]
    np.testing.assert_allclose(weights, stacking.fit_weights(scores, targets), atol=1e-12)
    assert found["groups"] == 30
    assert capsys.readouterr().out.count("alone macro F1") == 3


def test_groups_are_drawn_together(arrays):
    folder, *_ = arrays
    one = f"--config.evaluate.scores={folder / 'scores0.npy'}"
    alone, grouped = (
        evaluated(folder, one),
        evaluated(folder, one, f"--config.evaluate.groups={folder}/groups.npy"),
    )
    assert alone["groups"] == 120 and alone["macro_f1"] == grouped["macro_f1"]
    assert (
        alone["intervals"]["macro_f1"] != grouped["intervals"]["macro_f1"] and "models" not in alone
    )


def test_columns_have_the_names_that_are_given(arrays):
    folder, scores, _ = arrays
    names = [f"label of mine {i}" for i in range(scores.shape[-1])]
    (folder / "names.txt").write_text("\n".join(names))
    one = (f"--config.evaluate.scores={folder / 'scores0.npy'}", "--config.evaluate.replicates=0")
    found = evaluated(folder, *one, f"--config.evaluate.labels={folder / 'names.txt'}")
    assert [label["name"] for label in found["per_label"]] == names


def test_a_comma_in_a_files_name_is_no_list(arrays):
    folder, scores, _ = arrays
    np.save(folder / "a,b.npy", scores[0])
    assert "models" not in evaluated(folder, f"--config.evaluate.scores={folder / 'a,b.npy'}")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (np.zeros(119, int), "(119,)"),
        (np.zeros((120, 1), int), "(120, 1)"),
        (np.zeros(120), "float64"),
    ],
)
def test_wrong_groups_are_refused(arrays, capsys, wrong, message):
    folder, *_ = arrays
    np.save(folder / "groups.npy", wrong)
    flags = [several(folder), f"--config.evaluate.targets={folder}/targets.npy"]
    flags += [
        "--mode=evaluate",
        f"--workdir={folder / 'out'}",
        f"--config.evaluate.groups={folder}/groups.npy",
    ]
    assert command.main(flags) == 2
    error = capsys.readouterr().err
    assert (
        "groups.npy" in error
        and message in error
        and "120 images" in error
        and error.count("\n") == 1
    )


def test_arrays_of_other_images_are_refused(arrays, capsys):
    folder, scores, _ = arrays
    np.save(folder / "scores1.npy", scores[1, :100])
    flags = [several(folder), f"--config.evaluate.targets={folder}/targets.npy"]
    assert command.main([*flags, "--mode=evaluate", f"--workdir={folder / 'out'}"]) == 2
    assert "scores1.npy has shape (100, 4)" in capsys.readouterr().err


def test_where_every_image_has_one_label(arrays, capsys):
    folder, scores, _ = arrays
    single = "--config.evaluate.single_label=True"
    probabilities = scores[0] / scores[0].sum(axis=1, keepdims=True)
    labels = np.random.default_rng(0).integers(4, size=120)
    np.save(folder / "scores0.npy", probabilities)
    np.save(folder / "targets.npy", np.eye(4, dtype=np.uint8)[labels])
    found = evaluated(folder, f"--config.evaluate.scores={folder / 'scores0.npy'}", single)
    right = probabilities.argmax(axis=1) == labels
    assert found["accuracy"] == pytest.approx(right.mean(), abs=1e-12)
    assert f"accuracy {right.mean():.4f}" in capsys.readouterr().out
    flags = ["--mode=evaluate", f"--workdir={folder / 'out'}", several(folder), single]
    targets = f"--config.evaluate.targets={folder / 'targets.npy'}"
    assert command.main([*flags, targets]) == 2
    assert "average the arrays yourself" in capsys.readouterr().err
