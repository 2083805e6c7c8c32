"""Seconds from the start of `predict` to its table, and how memory grows with the number of images.

    python -m benchmarks.predict_folder time EXPORT DIR [--images=24] [--backends=onnx,jax]
    python -m benchmarks.predict_folder memory EXPORT [--images=1000,5000] [--suffix=csv]

`time` runs the command as a person does, in a process of its own, over the first images of DIR.
`memory` draws small files itself, and gives the growth of the largest resident memory for each
100,000 files more.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from hpa_jax.images.folder import find_images
from hpa_jax.labels import CHANNELS

_SIDE = 16


def main() -> None:
    """Runs one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("time", "memory"))
    parser.add_argument("export", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", default="")
    parser.add_argument("--backends", default="onnx,jax")
    parser.add_argument("--suffix", default="csv")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if flags.what == "time":
            _time(flags, Path(temporary))
        else:
            _memory(flags, Path(temporary))


def _time(flags, temporary: Path) -> None:
    images = find_images(flags.folder)
    count = int(flags.images or 24)
    chosen = temporary / "images"
    chosen.mkdir()
    for files in images.files[:count]:
        for name in filter(None, files):
            shutil.copy(f"{images.images.path}/{name}", chosen)
    for backend in flags.backends.split(","):
        used = predict(flags.export, chosen, temporary / f"{backend}.csv", backend)
        print(
            f"{backend}: {count} images in {used.seconds:.1f} s, {used.cpu:.1f} CPU s, "
            f"{used.megabytes:.0f} MB"
        )


def _memory(flags, temporary: Path) -> None:
    counts = [int(count) for count in (flags.images or "1000,5000").split(",")]
    peaks = []
    for count in counts:
        folder = temporary / str(count)
        draw(folder, count)
        used = predict(flags.export, folder, temporary / f"{count}.{flags.suffix}", "onnx")
        peaks.append(used.megabytes)
        files = count * len(CHANNELS)
        print(f"{files} files: {used.megabytes:.1f} MB, {used.seconds:.0f} s")
    files = (counts[-1] - counts[0]) * len(CHANNELS)
    growth = (peaks[-1] - peaks[0]) / files * 100_000
    print(f"growth: {growth:.0f} MB for each 100,000 files")


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
        raise SystemExit(f"error: predict ended with {os.waitstatus_to_exitcode(status)}")
    return Used(time.perf_counter() - start, usage)


if __name__ == "__main__":
    main()
