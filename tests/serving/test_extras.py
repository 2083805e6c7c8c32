"""What lies beside the net in a real export: its code runs as written, its digests are listed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from support.exports import tiny_export

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.folders.export_manifest import (
    BIOIMAGE,
    CARD,
    OPTIONAL,
    TORCHVISION,
    check_digests,
)
from hpa_jax.serving import extras

# An export and a start of PyTorch; test_export.py looks at the same in every run of the tests.
pytestmark = pytest.mark.slow

PLACEHOLDER = re.compile(r"images = np\.zeros\(.*")
GOLDEN_IMAGES = """
from safetensors.numpy import load_file as golden_file
images = golden_file("golden.safetensors")["images"]
"""
SAVE = """
names = ("probabilities", "embedding")
np.savez({path!r}, **{{name: np.asarray(globals()[name]) for name in names if name in globals()}})
"""
PREPARE_TORCHVISION = """
from support.torchvision_nets import import_torchvision
import_torchvision()
"""
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("extras") / "export")


@pytest.fixture
def bare(export, tmp_path):
    """A copy as it is before the extras are written."""
    folder = shutil.copytree(export, tmp_path / "bare")
    for name in ("manifest.json", CARD, BIOIMAGE, TORCHVISION):
        (folder / name).unlink()
    return folder


def write(folder, **settings):
    config = Config()
    config.model.name = "densenet_tiny"
    config.model.head = "linear"
    for name, value in settings.items():
        setattr(config.export, name, value)
    variables = load_file(folder / "model.safetensors")
    golden = load_file(folder / "golden.safetensors")
    extras.write_extras(folder, config, variables, golden, ())


def snippets(card):
    """The code of a card, by what it is run with."""
    found = {}
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        for kind in ("onnxruntime", "torchvision", "serving"):
            if f"import {kind}" in code:
                found[kind] = code
    return found


def test_an_export_lists_them_in_its_manifest(export):
    assert set(OPTIONAL) <= set(check_digests(export))
    assert {path.name for path in export.iterdir()} == {*check_digests(export), "manifest.json"}


@pytest.mark.parametrize("kind", ["onnxruntime", "serving", "torchvision"])
def test_the_code_in_the_card_runs_as_written(export, tmp_path, kind):
    code = snippets((export / CARD).read_text())[kind]
    code, replaced = PLACEHOLDER.subn(GOLDEN_IMAGES, code)
    assert replaced == 1
    found = tmp_path / "found.npz"
    program = [code, SAVE.format(path=str(found))]
    if kind == "torchvision":
        program.insert(0, PREPARE_TORCHVISION)
    paths = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", "\n".join(program)],
        capture_output=True,
        text=True,
        cwd=export,
        env=os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    arrays = np.load(found)
    golden = load_file(export / "golden.safetensors")
    np.testing.assert_allclose(arrays["probabilities"], golden["probabilities"], atol=1e-5)
    if kind == "torchvision":
        scale = np.abs(golden["embedding"]).max()
        difference = np.abs(arrays["embedding"] - golden["embedding"]).max()
        assert difference <= 1e-4 * scale
    if kind == "onnxruntime":
        assert "Nucleoplasm" in done.stdout


def test_the_same_export_has_the_same_ones(export, bare):
    write(bare)
    for name in (BIOIMAGE, TORCHVISION):
        assert (bare / name).read_bytes() == (export / name).read_bytes()


def test_each_can_be_left_out_but_the_card(bare):
    write(bare, bioimageio=False, torchvision=False)
    names = os.listdir(bare)
    assert CARD in names
    assert BIOIMAGE not in names
    assert TORCHVISION not in names
    card = (bare / CARD).read_text()
    assert set(snippets(card)) == {"onnxruntime", "serving"}
    assert BIOIMAGE not in card
    assert "pytorch" not in yaml.safe_load(card.split("---\n")[1])["tags"]


def test_without_a_model_there_is_no_package(bare):
    (bare / "model.onnx").unlink()
    write(bare, licence="MIT")
    assert not (bare / BIOIMAGE).exists()
    card = (bare / CARD).read_text()
    assert set(snippets(card)) == {"serving", "torchvision"}
    assert "Weights: MIT." in card


def test_weights_that_are_not_the_nets_are_refused(bare, monkeypatch):
    right = extras.to_torchvision

    def wrong(variables, net, head):
        arrays = right(variables, net, head)
        kernel = arrays["features.denseblock1.denselayer1.conv2.weight"]
        arrays["features.denseblock1.denselayer1.conv2.weight"] = kernel[::-1].copy()
        return arrays

    monkeypatch.setattr(extras, "to_torchvision", wrong)
    with pytest.raises(InputError, match="torchvision.safetensors is not the net: .*conv2/kernel"):
        write(bare)
    assert not (bare / CARD).exists()


def test_a_package_of_another_model_is_refused(bare):
    golden = load_file(bare / "golden.safetensors")
    description = json.loads((bare / "model.json").read_text())
    assert description["onnx"]["tolerances"]["probabilities"] < 0.01
    golden["probabilities"] += np.float32(0.01)
    config = Config()
    config.export.torchvision = False
    with pytest.raises(InputError, match="bioimageio.zip is not the net"):
        extras.write_extras(bare, config, {}, golden, ())
