"""The benchmark of a step: rows beside the peer, the same net on both sides, what it may import."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import torch
import train_step
from torch_densenet import DenseNet

from hpa_jax.environment import huge_pages
from hpa_jax.models import BACKBONES, create_model, init_variables
from hpa_jax.pretrained.torch_densenet import CLASSIFIER, key_of

# Where a GPU is rented, none of these need be installed; absl comes with Optax.
ABSENT = """
tensorflow tensorflow_datasets grain orbax ml_collections cv2 zstandard safetensors tensorboardX
h5py sklearn PIL google_crc32c monai torchvision
""".split()
BLOCKER = f"""
import importlib.abc, importlib.machinery, sys
class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    # PyTorch looks for some without importing them.
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {{spec.name!r}}", name=spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Absent())
"""


def test_rows_beside_the_peer_where_only_jax_and_pytorch_are(tmp_path, run_benchmark):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    refused = subprocess.run(
        [sys.executable, "-c", "import grain"], env=environment, capture_output=True, text=True
    )
    assert "No module named 'grain'" in refused.stderr

    done = run_benchmark("train_step.py", "--quick", environment=environment)
    assert done.returncode == 0, done.stderr
    names = ["train_step_64_cpu", "inference_64_cpu", "exported_64_cpu", "memory_64_cpu"]
    if huge_pages.is_offered():
        names += [f"{name}_huge_pages" for name in names]
    assert sorted(done.rows) == sorted(names)
    for row in done.rows.values():
        assert row["value"] > 0
        assert row["ratio_to_peer"] == pytest.approx(row["value"] / row["peer_value"])
        assert row["unit"] == ("bytes" if row["name"].startswith("memory") else "images/s")
        assert row["peer"] == "PyTorch, eager, channels last"
        assert row["device"]
    assert "no GPU that both JAX and PyTorch can use" in done.stdout


class FakeGpu:
    """A side on which a batch up to `fits` takes so many seconds an image."""

    name = "fake"

    def __init__(self, fits, seconds_per_image):
        self.fits = fits
        self.seconds_per_image = seconds_per_image
        self.tried = []

    def prepare(self, workload, kinds, batch):
        self.tried.append(batch)
        if batch > self.fits:
            return {"out_of_memory": True}
        return {"seconds": 1.0, "parameters": 1}

    def measure(self, kind, seconds):
        batch = self.tried[-1]
        return [batch * self.seconds_per_image(batch)]


@pytest.mark.parametrize(
    ("fits", "seconds_per_image", "best", "tried"),
    [
        (999, lambda batch: 1 / batch, 256, [64, 128, 256]),
        (999, lambda batch: 1.0, 64, [64, 128]),
        (128, lambda batch: 1 / batch, 128, [64, 128, 256]),
        (20, lambda batch: 1 / batch, 16, [64, 32, 16]),
    ],
    ids=["larger is faster", "no faster", "larger does not fit", "smaller fits"],
)
def test_the_search_for_the_best_batch(fits, seconds_per_image, best, tried):
    side = FakeGpu(fits, seconds_per_image)
    assert train_step.best_batch(side, train_step.WORKLOADS["gpu"], "train") == best
    assert side.tried == tried


def test_no_batch_fits():
    side = FakeGpu(0, lambda batch: 1.0)
    with pytest.raises(SystemExit, match="not one image of 512 px fits"):
        train_step.best_batch(side, train_step.WORKLOADS["gpu"], "train")


def test_both_sides_are_the_same_net():
    ours = create_model("densenet_tiny", head="linear", num_labels=28, dropout=0.0, dtype="float32")
    variables = init_variables(ours, (64, 64, 4), seed=0)
    noise = np.random.default_rng(0)

    def perturb(values):
        return values + noise.uniform(0.0, 0.1, values.shape).astype(np.float32)

    variables = jax.tree.map(perturb, variables)
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
    normalized = (images / np.float32(255) - np.float32(0.1)) / np.float32(0.2)
    logits = ours.apply(variables, normalized, train=False)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
