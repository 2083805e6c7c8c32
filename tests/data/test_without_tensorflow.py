"""Every module imports, and a dataset is read, where TensorFlow is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from support.made_datasets import ALL_IDS, pixels_of

_HIDE_TENSORFLOW = '''
import importlib, pkgutil, sys

class WithoutTensorFlow:
    """A finder as if TensorFlow was not installed. (TFDS also calls `find_spec`: None then.)"""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("tensorflow", "keras", "tf_keras")
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [WithoutTensorFlow(finder) for finder in sys.meta_path]
import hpa_jax
names = [module.name for module in pkgutil.walk_packages(hpa_jax.__path__, "hpa_jax.")]
for name in names:
    importlib.import_module(name)
assert {"hpa_jax.data", "hpa_jax.data.records"} <= set(names), names

from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.loader import eval_batches, train_batches
from hpa_jax.data.sampler import Order
dataset = load_dataset(sys.argv[1], "small", split="all")
next(iter(train_batches(dataset, Order([1.0] * len(dataset), 0), batch_size=4)))
for batch in eval_batches(dataset, batch_size=4):
    for image_id, image in zip(batch["id"], batch["image"]):
        print(image_id, int(image.sum(dtype="int64")))
try:
    import tensorflow
except ModuleNotFoundError:
    print("hidden", len([name for name in sys.modules if name.partition(".")[0] == "tensorflow"]))
'''


def test_everything_imports_and_reads_where_tensorflow_cannot_be_imported(data_dir):
    process = subprocess.run(
        [sys.executable, "-c", _HIDE_TENSORFLOW, str(data_dir)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert process.returncode == 0, process.stderr
    sums = [f"{i} {pixels_of(i).sum(dtype=np.int64)}" for i in ALL_IDS]
    wanted = [*sums, " 0", "hidden 0"]
    assert process.stdout.splitlines() == wanted
