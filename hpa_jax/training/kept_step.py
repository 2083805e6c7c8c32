"""The training step as it was traced, kept beside the compiled programs for the next start.

Tracing takes seconds of Python at every start, and a cache of compiled programs does not help: it
is looked up by what was traced. What is kept is JAX's own format for that (`jax.export`): StableHLO
and the shapes of arguments, no Python objects, so that reading it runs nothing.

Design:
- the first start compiles what it keeps, as all later ones do. What it has traced is the same
  arithmetic, but another program to the cache and to the compiler, which may round otherwise;
- a file is named by a digest of all that the step follows from (`trace_key`) and never updated.
  One that is damaged, or of another key, is written again.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from jax import export
from jax.sharding import Mesh

from hpa_jax.config import Config, settings_of_steps
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.environment.garbage import without_collection
from hpa_jax.environment.sources import source_digest
from hpa_jax.files import write_atomically
from hpa_jax.parallel.mesh import replicated
from hpa_jax.training.state import TrainState

_FORMAT = "hpa_jax traced step 1"
# What a GPU's Pallas kernels are to XLA. Between versions that may change, but a file is of one.
_KNOWN = (export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton"),)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def trace_key(
    config: Config,
    dataset: ConcatDataset,
    mesh: Mesh,
    state: TrainState,
    batch: dict,
    *,
    num_steps: int,
) -> str:
    """A digest of all that a traced training step follows from, 32 hex digits.

    Args:
      config: of the run, resolved.
      dataset: the images to train on: losses weigh labels by how frequent they are.
      mesh: of the devices.
      state, batch: the step's arguments, arrays or their shapes and types.
      num_steps: length of the run, which schedules are made for.
    """
    device = mesh.devices.flat[0]
    settings_of_jax = dict(jax.config.values)
    # Where programs are kept; of a bucket it is another folder in each process.
    settings_of_jax.pop("jax_compilation_cache_dir", None)
    leaves, structure = jax.tree.flatten((state, batch))
    facts = {
        "format": _FORMAT,
        "source": source_digest(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "jax": settings_of_jax,
        "settings": settings_of_steps(config),
        "images": dataset.fingerprint(),
        "targets": hashlib.sha256(dataset.targets().tobytes()).hexdigest(),
        "steps": num_steps,
        "mesh": dict(mesh.shape),
        "device": [device.platform, device.device_kind, device.client.platform_version],
        "processes": jax.process_count(),
        "arguments": [f"{leaf.dtype}{leaf.shape}" for leaf in leaves],
        "structure": str(structure),
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def keep_traced(
    step: jax.stages.Wrapped, state: TrainState, batch: dict, *, key: str, folder: Path
) -> jax.stages.Wrapped:
    """The training step, traced by an earlier start, or now and kept for the next one.

    Args:
      step: jitted: state and batch to the next state, of the same structure, and metrics by name.
      state, batch: its arguments, arrays or their shapes, types and shardings.
      key: of `trace_key`.
      folder: of traced steps. Where it cannot be written, nothing is kept.

    Returns:
      The same step, jitted, the state donated. `step` itself where it has an operation that
      `jax.export` does not take.
    """
    leaves, structure = jax.tree.flatten(state)
    sharding = replicated(leaves[0].sharding.mesh)
    path = folder / f"{key}.step"
    traced = _read(path, key)
    if traced is None:

        def on_leaves(leaves: Sequence[jax.Array], batch: dict) -> tuple[list, dict]:
            next_state, metrics = step(jax.tree.unflatten(structure, leaves), batch)
            return jax.tree.leaves(next_state), metrics

        jitted = jax.jit(on_leaves, donate_argnums=0, out_shardings=(sharding, sharding))
        try:
            with without_collection():
                exported = export.export(jitted, disabled_checks=_KNOWN)
                content = exported(leaves, batch).serialize()
        except (ValueError, NotImplementedError):
            # A fault of the step itself is met again by whoever calls it.
            return step
        # A full disk, or a folder that may not be written, costs the next start some seconds.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _head(key, content) + content)
        traced = export.deserialize(bytearray(content))

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        next_leaves, metrics = traced.call(jax.tree.leaves(state), batch)
        return jax.tree.unflatten(structure, next_leaves), metrics

    return jax.jit(train_step, donate_argnums=0, out_shardings=(sharding, sharding))


def _head(key: str, content: bytes) -> bytes:
    """The first line of a file."""
    digest = hashlib.sha256(content).hexdigest()
    return f"{_FORMAT} {key} {digest}\n".encode()


def _read(path: Path, key: str) -> export.Exported | None:
    """What is kept under a key; None if that is nothing, or not what was written there."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    head, _, content = data.partition(b"\n")
    if head + b"\n" == _head(key, content):
        return export.deserialize(bytearray(content))
    print(f"{path} is damaged: the step is traced again", file=sys.stderr)
    return None
