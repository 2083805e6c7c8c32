"""Checkpoints of a small state that no net is behind, and injuries to them."""

import random
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from hpa_jax.training.checkpoint import Checkpoints

RUN = "0123456789abcdef0123456789abcdef"
DATASETS = {"kaggle_512": {"train": "ab" * 32}}
METRIC = "macro_f1"
METRICS = {1: {METRIC: 0.3}, 2: {METRIC: 0.5}, 3: {METRIC: 0.4}}


@struct.dataclass
class State:
    """The kinds of leaves that a training state has."""

    step: jax.Array
    params: dict
    opt_state: tuple
    average: dict | None = None


def made_state(step: int) -> State:
    """A state whose arrays follow from `step`."""
    rng = np.random.default_rng(step)
    kernels = {}
    for layer in range(3):
        kernels[f"conv{layer}"] = {
            "kernel": jnp.asarray(rng.standard_normal((3, 3, 8, 16)), jnp.float32)
        }
    moments = [jnp.asarray(rng.standard_normal((64, 9)), jnp.bfloat16), jnp.zeros((4,))]
    return State(jnp.int32(step), kernels, (jnp.float32(step), moments))


def opened(folder: Path, *, run_id: str | None = RUN, **arguments) -> Checkpoints:
    """The checkpoints in `folder`, for reading unless `keep` says otherwise."""
    return Checkpoints(folder, metric=METRIC, run_id=run_id, **arguments)


def save_steps(folder: Path, steps=(1, 2, 3), *, keep: int = 9, run_id: str = RUN) -> None:
    """Saves `made_state` of each of the steps, at position 8 x step, with METRICS."""
    checkpoints = opened(folder, run_id=run_id, keep=keep, datasets=DATASETS)
    for step in steps:
        checkpoints.save(step, made_state(step), 8 * step, METRICS.get(step))
    checkpoints.close()


def equal(a: Any, b: Any) -> bool:
    """Whether two states have the same leaves, bit by bit."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def array_files(folder: Path) -> list[Path]:
    """The files of a step in which Orbax keeps the values of arrays."""
    return sorted(path for path in folder.rglob("d/*") if path.is_file())


def all_files(folder: Path) -> list[Path]:
    """Every file of a step."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Flips:
    """Single bits of files, drawn at random, flipped one at a time."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def __call__(self, files: list[Path]) -> tuple[Path, bytes]:
        """Flips one bit in one of the files; returns which, and what it held before."""
        path = self._random.choice([file for file in files if file.stat().st_size])
        before = path.read_bytes()
        damaged = bytearray(before)
        bit = self._random.randrange(8 * len(damaged))
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        return path, before
