"""The benchmark of a step: rows beside the peer, the same net on both sides, and what it may import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from torch_densenet import DenseNet  # noqa: E402

from hpa_jax.models import BACKBONES, create_model, init_variables  # noqa: E402
from hpa_jax.pretrained.torch_names import CLASSIFIER, key_of  # noqa: E402

# Where a GPU is rented, none of these need be installed; absl comes with Optax.
ABSENT = """
tensorflow tensorflow_datasets grain orbax ml_collections cv2 zstandard safetensors tensorboardX h5py sklearn PIL
google_crc32c monai torchvision
""".split()
BLOCKER = f"""
import importlib.abc, importlib.machinery, sys
class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):  # PyTorch looks for some without importing them
        if name.partition(".")[0] in {ABSENT!r}:
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {{spec.name!r}}", name=spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Absent())
"""


def test_rows_beside_the_peer_where_only_jax_and_pytorch_are(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    refused = subprocess.run(
        [sys.executable, "-c", "import grain"], env=environment, capture_output=True, text=True
    )
    assert "No module named 'grain'" in refused.stderr
    command = [
        sys.executable,
        "benchmarks/train_step.py",
        "--quick",
        f"--json={tmp_path / 'rows.json'}",
    ]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert list(rows) == ["train_step_64_cpu", "inference_64_cpu", "exported_64_cpu"]
    for row in rows.values():
        assert row["value"] > 0 and row["ratio_to_peer"] == pytest.approx(
            row["value"] / row["peer_value"]
        )
        assert (
            row["unit"] == "images/s"
            and row["peer"] == "PyTorch, eager, channels last"
            and row["device"]
        )
    assert "no GPU that both JAX and PyTorch can use" in done.stdout


def test_both_sides_are_the_same_net():
    ours = create_model("densenet_tiny", head="linear", num_labels=28, dropout=0.0, dtype="float32")
    variables = init_variables(ours, (64, 64, 4), seed=0)
    noise = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda a: a + noise.uniform(0.0, 0.1, a.shape).astype(np.float32), variables
    )
    theirs = DenseNet(**BACKBONES["densenet_tiny"].keywords, labels=28, mean=0.1, std=0.2).eval()
    state = theirs.state_dict()
    for path, value in jax.tree.leaves_with_path(variables):
        name = "/".join(entry.key for entry in path)
        key = CLASSIFIER.get(name) or key_of(name)
        if name.endswith("kernel"):
            value = value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1)
        state[key] = torch.tensor(value).reshape(state[key].shape)
    theirs.load_state_dict(state)
    images = noise.integers(0, 256, (2, 64, 64, 4), np.uint8)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images)).numpy()
    logits = ours.apply(
        variables, (images / np.float32(255) - np.float32(0.1)) / np.float32(0.2), train=False
    )
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
