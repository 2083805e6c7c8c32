"""Rounds through the loaders of `input.py`, each a process that stays up, and a table of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from checkout import BENCHMARKS
from results import make_row

from hpa_jax.errors import InputError

OURS = "ours_zstd"
TITLES = {
    OURS: "ours, zstd",
    "ours_png": "ours, PNG",
    "grain_png": "Grain, RGBA PNG in memory",
    "tf_data_png": "tf.data, RGBA PNG TFRecords",
    "dataloader_png": "PyTorch DataLoader, four PNGs",
}
PEERS = {
    "dataloader_png": "PyTorch DataLoader over four PNGs, same worker count",
    "tf_data_png": "tf.data on one four-channel PNG, same worker count",
}
_COLUMNS = {
    "kB an image": 12,
    "img/s": 9,
    "img/s/core": 12,
    "img/CPU-s": 11,
    "peak MB": 9,
    "ours is": 9,
}


class Contender:
    """A loader in its own process.

    Attributes:
      loader: one of TITLES.
      workers: its threads or processes.
      first_batch: `shape`, `dtype`, and the `bytes` that an image takes on disk; after `wait`.
      rounds: what each round has measured (`input_contenders.measure`).
    """

    def __init__(self, loader: str, workers: int, batch: int, folder: Path):
        self.loader = loader
        self.workers = workers
        self.first_batch: dict = {}
        self.rounds: list[dict] = []
        program = BENCHMARKS / "input_contenders.py"
        self._process = subprocess.Popen(
            [sys.executable, program, loader, str(workers), str(batch), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            log = self._process.stderr.read().strip().splitlines()
            reason = log[-1] if log else "without a message"
            raise InputError(f"{TITLES[self.loader]}: it ended early: {reason}")
        return json.loads(line)

    def wait(self) -> None:
        """Waits for the first batch."""
        self.first_batch = self._answer()

    def measure(self, seconds: float) -> None:
        """One more round."""
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        self.rounds.append(self._answer())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def per_core(self) -> np.ndarray:
        """Images a second and worker, of each round."""
        speeds = [found["images"] / found["seconds"] for found in self.rounds]
        return np.array(speeds) / self.workers

    def per_cpu_second(self) -> np.ndarray:
        """Images a CPU second, of each round."""
        return np.array([found["images"] / found["cpu_seconds"] for found in self.rounds])


def compare(
    folder: Path, workers: list[int], batch: int, rounds: int, seconds: float
) -> list[Contender]:
    """Measures all loaders at all numbers of workers, in turn.

    Raises:
      InputError: a loader failed, or their batches differ in shape or dtype.
    """
    contenders: list[Contender] = []
    try:
        for count in workers:
            for loader in TITLES:
                contenders.append(Contender(loader, count, batch, folder))
        for contender in contenders:
            contender.wait()
        for _ in range(rounds):
            for contender in contenders:
                contender.measure(seconds)
    finally:
        for contender in contenders:
            contender.stop()
    batches = [contender.first_batch for contender in contenders]
    if len({(*first["shape"], first["dtype"]) for first in batches}) > 1:
        raise InputError(f"{folder}: the loaders' batches differ: {batches}")
    return contenders


def report(contenders: list[Contender], batch: int) -> list[dict]:
    """Prints a table for each number of workers, and returns the rows.

    The rows that have a peer are those of our loader at the most workers, one for each of PEERS.
    """
    side = contenders[0].first_batch["shape"][1]
    by_key = {(contender.loader, contender.workers): contender for contender in contenders}
    all_workers = sorted({contender.workers for contender in contenders})
    rows = []
    for workers in all_workers:
        print(f"\n{side} px, batch {batch}, {workers} worker{'s' * (workers > 1)}")
        print(" " * 32 + "".join(f"{title:>{width}s}" for title, width in _COLUMNS.items()))
        for loader in TITLES:
            rows.append(_report_one(by_key[loader, workers], by_key[OURS, workers], side))

    most = all_workers[-1]
    ours = by_key[OURS, most]
    for loader, peer in PEERS.items():
        other = by_key[loader, most]
        ratio = float(np.median(ours.per_core() / other.per_core()))
        cpu_ratio = float(np.median(ours.per_cpu_second() / other.per_cpu_second()))
        name = f"input_{side}_vs_{loader}"
        print(f"{name:32s} {ratio:.2f}x images/s/core, {cpu_ratio:.2f}x images a CPU second")
        row = make_row(
            name,
            float(np.median(ours.per_core())),
            "images/s/core",
            peer=peer,
            ratio_to_peer=ratio,
            device="cpu",
            workers=most,
            ratio_of_cpu_seconds=cpu_ratio,
        )
        rows.append(row)
    return rows


def _report_one(contender: Contender, ours: Contender, side: int) -> dict:
    """Prints the line of one loader beside ours, and returns its row."""
    per_core = float(np.median(contender.per_core()))
    per_cpu_second = float(np.median(contender.per_cpu_second()))
    ratio = float(np.median(ours.per_core() / contender.per_core()))
    peak = max(found["peak_bytes"] for found in contender.rounds)
    size = contender.first_batch["bytes"]
    cells = (
        f"{size / 1e3:12.1f}{per_core * contender.workers:9.1f}{per_core:12.1f}"
        f"{per_cpu_second:11.1f}{peak / 1e6:9.0f}{ratio:8.2f}x"
    )
    print(f"{TITLES[contender.loader]:32s}{cells}")
    return make_row(
        f"input_{side}_{contender.loader}_workers_{contender.workers}",
        per_core,
        "images/s/core",
        device="cpu",
        images_per_cpu_second=per_cpu_second,
        bytes_an_image=size,
        peak_bytes=peak,
        workers=contender.workers,
    )
