"""What a manifest adds to a save: the state of DenseNet-121 with Adam, drawn at random.

    python benchmarks/checkpoint_cost.py [--saves=12] [--folder=DIR] [--json=FILE]

Every other save is done without digests, so that both meet the same machine. Prints medians: CPU
seconds of the process for a save, of which for digests; seconds in which training waits; seconds
until the step is complete, of which for flushing it to the disk. The peer of a row is the same save
without digests.
"""

import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from command_line import make_parser, run
from results import make_row, write_rows

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


def time_saves(saves: int, folder: Path) -> dict[bool, list[dict[str, float]]]:
    """Saves in turns with and without digests; the seconds of each save, by whether it had them."""
    state = random_state()
    leaves = jax.tree.leaves(state)
    size = sum(leaf.nbytes for leaf in leaves) / 1e6
    print(f"{len(leaves)} arrays, {size:.0f} MB")
    checkpoints = Checkpoints(folder, metric="macro_f1", keep=1, run_id="0" * 32)
    found = {True: [], False: []}
    for step in range(1, saves + 1):
        with Digests(computed=step % 2 == 0) as digests:
            cpu_start = time.process_time()
            start = time.perf_counter()
            checkpoints.save(step, state, 0)
            waited = time.perf_counter() - start
            checkpoints.wait()
            seconds = {
                "CPU": time.process_time() - cpu_start,
                "digests, CPU": digests.cpu_seconds,
                "training waits": waited,
                "until complete": time.perf_counter() - start,
                "flushing": checkpoints.timings["sync"],
            }
        # The first of each kind has the disk and the code to warm up.
        if step > 2:
            found[digests.computed].append(seconds)
    checkpoints.close()
    return found


def compare(args: Namespace) -> None:
    """Prints a row for each kind of seconds."""
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        found = time_saves(args.saves, Path(temporary) / "checkpoints")
    rows = []
    for name in found[True][0]:
        medians = {}
        for computed, of_saves in found.items():
            medians[computed] = statistics.median(seconds[name] for seconds in of_saves)
        peer_value = medians[False]
        if name == "digests, CPU":
            # Without them there are none: beside all of the save.
            peer_value = statistics.median(seconds["CPU"] for seconds in found[True])
        peer = "all CPU seconds of the save" if name == "digests, CPU" else "without digests"
        row = make_row(name, medians[True], "s", peer=peer, peer_value=peer_value, device="cpu")
        print(f"{name}: {medians[True]:.3f} s; {peer}: {peer_value:.3f} s")
        rows.append(row)
    write_rows(args.json, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--saves", type=int, default=12, help="half of them without digests")
    parser.add_argument("--folder", type=Path, help="on the disk to write to (default: temporary)")
    args = parser.parse_args(argv)
    if args.saves < 4:
        parser.error("--saves: 4 at least")
    return run(lambda: compare(args))


if __name__ == "__main__":
    sys.exit(main())
