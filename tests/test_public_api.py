"""The public API: lazy, complete whatever was imported before, enough for the README's main job."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import hpa_jax
from hpa_jax.environment.garbage import pause_collection
from hpa_jax.errors import EXIT_OK, InputError

REPOSITORY = Path(__file__).resolve().parents[1]

# Imports every module of the package, before or after every public name is used once.
USE_ALL = """
import importlib, inspect, pkgutil, sys
import hpa_jax

def import_all():
    for module in pkgutil.walk_packages(hpa_jax.__path__, "hpa_jax."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

def use_all():
    names = [name for name in hpa_jax.__all__ if name != "__version__"]
    for name in names:
        value = getattr(hpa_jax, name)
        if name in ("losses", "metrics", "optim", "transforms"):
            assert inspect.ismodule(value), (name, value)
            continue
        assert callable(value) and not inspect.ismodule(value), (name, value)
        assert value.__doc__, name
        if name in ("Config", "list_models"):
            value()
            continue
        try:  # each of the others takes arguments: it says so itself
            value()
        except TypeError as error:
            assert "missing" in str(error), (name, error)
        else:
            raise AssertionError(name)
    assert set(names) <= set(dir(hpa_jax))

for step in sys.argv[1:]:
    {"import": import_all, "use": use_all}[step]()
print("used")
"""


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, **options
    )


def test_importing_it_loads_nothing_else():
    program = (
        "import sys, hpa_jax; print([m for m in sys.modules if m in ('jax', 'numpy', 'absl')])"
    )
    done = python("-c", program)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("order", [("import", "use"), ("use", "import", "use")])
def test_no_module_hides_a_public_name(order):
    done = python("-c", USE_ALL, *order)
    assert done.returncode == 0 and done.stdout.strip().endswith("used"), done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        hpa_jax.trian  # noqa: B018


def test_the_main_job_from_python(small_data, tmp_path):
    """What the README does on the command line: train, evaluate, predict, export, serve."""
    config = hpa_jax.load_config(
        REPOSITORY / "configs" / "quickstart.py",
        data__data_dir=str(small_data),
        data__name="synthetic_32",
        data__batch_size=8,
        model__name="densenet_tiny",
        train__steps=2,
    )
    as_configured = hpa_jax.load_config(
        REPOSITORY / "configs" / "quickstart.py",
        data__data_dir=str(small_data),
        data__name="synthetic_32",
        data__batch_size=8,
        model__name="densenet_tiny",
        train__steps=2,
    )
    workdir = tmp_path / "run"
    assert hpa_jax.train(config, str(workdir)) == EXIT_OK
    assert config == as_configured  # a configuration is read, never changed
    pause_collection()  # as the command line does before its imports
    assert hpa_jax.train(hpa_jax.load_config(workdir), workdir) == EXIT_OK  # it is finished
    assert gc.isenabled()

    dataset = hpa_jax.load_dataset(small_data, "synthetic_32", split="validation")
    images = np.stack([dataset[i]["image"] for i in range(len(dataset))])
    predictor = hpa_jax.load_run(workdir)
    scores = predictor(images)
    assert scores.shape == dataset.targets().shape and 0 <= scores.min() <= scores.max() <= 1

    metrics = hpa_jax.evaluate(scores, dataset.targets(), replicates=0)
    recorded = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert metrics["macro_f1"] == pytest.approx(recorded[-1]["macro_f1"], abs=1e-6)

    from hpa_jax.main import main

    assert main(["--mode=export", f"--workdir={workdir}"]) == 0
    served = hpa_jax.load_export(workdir / "export")
    np.testing.assert_allclose(served.probabilities(images), scores, atol=1e-4)


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    from hpa_jax.files import locked

    with locked(tmp_path), pytest.raises(InputError, match="in use"):
        hpa_jax.train(hpa_jax.Config(), tmp_path)


def test_a_net_without_a_run():
    assert {"densenet121", "resnet50", "all_cnn"} <= set(hpa_jax.list_models())
    model = hpa_jax.create_model("densenet_tiny", head="pooled", num_labels=5, dtype="float32")
    images = np.zeros((2, 32, 32, 4), np.float32)
    variables = model.init(jax.random.key(0), images, train=False)
    logits = model.apply(variables, images, train=False)
    assert logits.shape == (2, 5)
    targets = np.zeros((2, 5), np.uint8)
    assert np.isfinite(hpa_jax.losses.bce(logits, targets))
    with pytest.raises(InputError):
        hpa_jax.load_pretrained(model, "no_such_weights")
