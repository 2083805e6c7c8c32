"""Seconds from the start of `predict` to its table, and how memory grows with the number of images.

    python benchmarks/predict_folder.py time EXPORT DIR [--images=24] [--json=FILE]
    python benchmarks/predict_folder.py memory EXPORT [--images=1000,5000] [--json=FILE]

`time` runs the command as a person does, in a process of its own, over the first images of DIR.
`memory` draws small files itself, and gives the growth of the largest resident memory for each
100,000 files more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import checkout  # noqa: F401
import cv2
import numpy as np
from command_line import make_parser, run
from results import cpu_name, make_row, with_cores, write_rows

from hpa_jax.errors import InputError
from hpa_jax.images.folder import find_images
from hpa_jax.labels import CHANNELS

_SIDE = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=("time", "memory"))
    parser.add_argument("export", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", help="images, for `time`")
    parser.add_argument("--images", default="", help="how many")
    parser.add_argument("--suffix", default="csv", help="of the tables of `memory`")
    args = parser.parse_args(argv)
    measure = measure_time if args.what == "time" else measure_memory
    return run(lambda: write_rows(args.json, measure(args)))


def measure_time(args: Namespace) -> list[dict]:
    """Runs the command with each backend; returns a row."""
    if args.folder is None:
        raise InputError("time needs DIR, a folder of images; give it after EXPORT")
    count = int(args.images or 24)
    used = {}
    with tempfile.TemporaryDirectory() as temporary:
        chosen = Path(temporary) / "images"
        _copy_first(args.folder, count, chosen)
        for backend in ("onnx", "jax"):
            out = Path(temporary) / f"{backend}.csv"
            found = predict(args.export, chosen, out, backend)
            used[backend] = found
            print(
                f"{backend}: {count} images in {found.seconds:.1f} s, {found.cpu:.1f} CPU s, "
                f"{found.megabytes:.0f} MB"
            )
    ratio = used["onnx"].seconds / used["jax"].seconds
    print(f"onnx takes {ratio:.2f} of the seconds of jax")
    row = make_row(
        "predict_folder",
        used["onnx"].seconds,
        "s",
        peer="the backend jax",
        peer_value=used["jax"].seconds,
        device=with_cores(cpu_name()),
        images=count,
    )
    return [row]


def _copy_first(folder: Path, count: int, target: Path) -> None:
    images = find_images(folder)
    target.mkdir()
    for files in images.files[:count]:
        for name in filter(None, files):
            shutil.copy(f"{images.images.path}/{name}", target)


def measure_memory(args: Namespace) -> list[dict]:
    """Runs the command on two numbers of small images; returns a row."""
    counts = [int(count) for count in (args.images or "1000,5000").split(",")]
    peaks = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in counts:
            folder = Path(temporary) / str(count)
            draw(folder, count)
            out = Path(temporary) / f"{count}.{args.suffix}"
            used = predict(args.export, folder, out, "onnx")
            peaks.append(used.megabytes)
            files = count * len(CHANNELS)
            print(f"{files} files: {used.megabytes:.1f} MB, {used.seconds:.0f} s")
    files = (counts[-1] - counts[0]) * len(CHANNELS)
    growth = (peaks[-1] - peaks[0]) / files * 100_000
    print(f"growth: {growth:.0f} MB for each 100,000 files")
    return [make_row("predict_memory_growth", growth, "MB per 100,000 files", device="any")]


def draw(folder: Path, count: int) -> None:
    """Draws images of 16 px, a file a channel."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        for channel in CHANNELS:
            plane = rng.integers(0, 256, (_SIDE, _SIDE), np.uint8)
            cv2.imwrite(str(folder / f"image{number:06}_{channel}.png"), plane)


class Used:
    """What a process took: `seconds` on the wall, `cpu` seconds, `megabytes` at its largest."""

    def __init__(self, seconds: float, usage):
        self.seconds = seconds
        self.cpu = usage.ru_utime + usage.ru_stime
        self.megabytes = usage.ru_maxrss / 1024


def predict(export: Path, images: Path, out: Path, backend: str) -> Used:
    """Runs the command in a process of its own."""
    command = [sys.executable, "-m", "hpa_jax.serving", "predict", str(export), str(images)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, f"--out={out}", f"--backend={backend}"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise InputError(f"predict ended with status {code}; its own line says why")
    return Used(time.perf_counter() - start, usage)


if __name__ == "__main__":
    sys.exit(main())
