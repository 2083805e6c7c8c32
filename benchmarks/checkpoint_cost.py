"""What a manifest adds to a save: the state of DenseNet-121 with Adam, drawn at random.

    python benchmarks/checkpoint_cost.py [--saves=12] [--folder=DIR]

Every other save is done without digests, so that both meet the same machine. Prints medians: CPU
seconds of the process for a save, of which for digests; seconds in which training waits; seconds
until the step is complete, of which for flushing it to the disk.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from hpa_jax.config import Config
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.training import components, manifest
from hpa_jax.training.checkpoint import Checkpoints


def random_state():
    """Arrays of a training state, on one device."""
    config = Config()
    config.data.image_size = 512
    config.data.batch_size = 8
    abstract = components.Setup(config, make_mesh()).abstract_state()
    rng = np.random.default_rng(0)

    def drawn(leaf):
        values = rng.standard_normal(leaf.shape)
        return jax.device_put(values.astype(leaf.dtype), jax.devices()[0])

    return jax.tree.map(drawn, abstract)


class Digests:
    """`manifest.describe`, timed, or replaced by one that computes nothing; a context."""

    def __init__(self, computed: bool):
        self.computed = computed
        self.cpu_seconds = 0.0
        self._describe = manifest.describe

    def __enter__(self):
        manifest.describe = self._timed if self.computed else self._without
        return self

    def __exit__(self, *error):
        manifest.describe = self._describe

    def _timed(self, *arguments):
        start = time.thread_time()
        entry = self._describe(*arguments)
        self.cpu_seconds += time.thread_time() - start
        return entry

    def _without(self, name, array, pieces):
        described = []
        for piece in pieces:
            shape = list(piece.values.shape)
            described.append({"start": list(piece.start), "shape": shape, "sha256": "0" * 64})
        return {"dtype": str(array.dtype), "shape": list(array.shape), "pieces": described}


def main(saves: int, folder: Path) -> None:
    state = random_state()
    leaves = jax.tree.leaves(state)
    size = sum(leaf.nbytes for leaf in leaves) / 1e6
    print(f"{len(leaves)} arrays, {size:.0f} MB")
    checkpoints = Checkpoints(folder, metric="macro_f1", keep=1, run_id="0" * 32)
    found = {True: [], False: []}
    for step in range(1, saves + 1):
        with Digests(computed=step % 2 == 0) as digests:
            cpu, start = time.process_time(), time.perf_counter()
            checkpoints.save(step, state, 0)
            waited = time.perf_counter() - start
            checkpoints.wait()
            seconds = time.perf_counter() - start
            row = {
                "CPU s": time.process_time() - cpu,
                "digests, CPU s": digests.cpu_seconds,
                "waited s": waited,
                "complete after s": seconds,
                "flushed s": checkpoints.timings["sync"],
            }
        # The first of each kind has the disk and the code to warm up.
        if step > 2:
            found[digests.computed].append(row)
    checkpoints.close()
    for computed, rows in found.items():
        values = [f"{name} {statistics.median(r[name] for r in rows):.3f}" for name in rows[0]]
        print("with digests:   " if computed else "without digests:", ", ".join(values))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=12)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        main(arguments.saves, Path(temporary) / "checkpoints")
