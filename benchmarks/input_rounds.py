"""Rounds through the loaders that `input.py` compares, each a process that stays up, and the table of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

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
_COLUMNS = (
    ("kB an image", 12),
    ("img/s", 9),
    ("img/s/core", 12),
    ("img/CPU-s", 11),
    ("peak MB", 9),
    ("ours is", 9),
)


class Contender:
    """A loader in its own process."""

    def __init__(self, loader: str, workers: int, batch: int, folder: Path):
        self.loader, self.workers = loader, workers
        program = Path(__file__).with_name("input_contenders.py")
        self._process = subprocess.Popen(
            [sys.executable, program, loader, str(workers), str(batch), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.rounds: list[dict] = []

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            reason = self._process.stderr.read().strip().splitlines()
            raise InputError(
                f"{TITLES[self.loader]}: it ended early: {(reason or ['without a word'])[-1]}"
            )
        return json.loads(line)

    def ready(self) -> None:
        self.facts = self._answer()

    def round(self, seconds: float) -> None:
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        self.rounds.append(self._answer())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def per_core(self) -> np.ndarray:
        return np.array(
            [found["images"] / found["seconds"] / self.workers for found in self.rounds]
        )

    def per_cpu_second(self) -> np.ndarray:
        return np.array([found["images"] / found["cpu_seconds"] for found in self.rounds])


def compare(
    folder: Path, workers: list[int], batch: int, rounds: int, seconds: float
) -> list[Contender]:
    """Measures all loaders at all numbers of workers, in turn."""
    contenders: list[Contender] = []
    try:
        for count in workers:
            for loader in TITLES:
                contenders.append(Contender(loader, count, batch, folder))
        for contender in contenders:
            contender.ready()
        for _ in range(rounds):
            for contender in contenders:
                contender.round(seconds)
    finally:
        for contender in contenders:
            contender.stop()
    if len({(*contender.facts["shape"], contender.facts["dtype"]) for contender in contenders}) > 1:
        raise InputError(
            f"{folder}: the loaders' batches differ: {[contender.facts for contender in contenders]}"
        )
    return contenders


def row(name: str, value: float, unit: str, peer: str | None, ratio: float | None) -> dict:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "peer": peer,
        "ratio_to_peer": ratio,
        "device": "cpu",
    }


def report(contenders: list[Contender], batch: int) -> list[dict]:
    """Prints the table and returns the rows; what ours is measured against are `PEERS`, at the same workers."""
    edge = contenders[0].facts["shape"][1]
    rows, by_key = (
        [],
        {(contender.loader, contender.workers): contender for contender in contenders},
    )
    for workers in sorted({contender.workers for contender in contenders}):
        print(f"\n{edge} px, batch {batch}, {workers} worker{'s' * (workers > 1)}")
        print(" " * 32 + "".join(f"{title:>{width}s}" for title, width in _COLUMNS))
        ours = by_key[OURS, workers]
        for loader, title in TITLES.items():
            found = by_key[loader, workers]
            rate = float(np.median(found.per_core()))
            ratio = float(np.median(ours.per_core() / found.per_core()))
            peak, size = max(one["peak_bytes"] for one in found.rounds), found.facts["bytes"]
            cpu_rate = float(np.median(found.per_cpu_second()))
            print(
                f"{title:32s}{size / 1e3:12.1f}{rate * workers:9.1f}{rate:12.1f}{cpu_rate:11.1f}{peak / 1e6:9.0f}"
                f"{ratio:8.2f}x"
            )
            line = row(
                f"input_{edge}_{loader}_workers_{workers}", rate, "images/s/core", None, None
            )
            extra = {"images_per_cpu_second": cpu_rate, "bytes_an_image": size, "peak_bytes": peak}
            rows.append(line | extra | {"workers": workers})
    most = max(contender.workers for contender in contenders)
    ours = by_key[OURS, most]
    for loader, peer in PEERS.items():
        other = by_key[loader, most]
        ratio = float(np.median(ours.per_core() / other.per_core()))
        cpu_ratio = float(np.median(ours.per_cpu_second() / other.per_cpu_second()))
        name = f"input_{edge}_vs_{loader}"
        print(f"{name:32s} {ratio:.2f}x images/s/core, {cpu_ratio:.2f}x images a CPU second")
        line = row(name, float(np.median(ours.per_core())), "images/s/core", peer, ratio)
        rows.append(line | {"workers": most, "ratio_of_cpu_seconds": cpu_ratio})
    return rows
