"""What each codec costs: bytes and CPU time of an image, beside the four PNGs that it came from."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
from kaggle_layout import channel_files, read_image
from results import make_row

from hpa_jax.data import codec

PNGS = "four PNGs"
COLUMNS = ("kB", "of PNGs", "encode", "decode")


class Task(NamedTuple):
    """Something to do with each of several items, for one codec."""

    codec: str
    direction: str
    function: Callable
    items: Sequence


def report_codecs(reds: list[Path], side: int, repeats: int) -> list[dict]:
    """Measures every codec, prints a table and returns its rows.

    Args:
      reds: the images, each by its file of the red channel.
      side: of the images in px.
      repeats: the CPU milliseconds, on one thread, are the least of so many.
    """
    cv2.setNumThreads(1)
    images = [read_image(red) for red in reds]
    png_bytes = 0
    for red in reds:
        for path in channel_files(red):
            png_bytes += path.stat().st_size

    sizes = {PNGS: png_bytes / len(reds)}
    tasks = [Task(PNGS, "decode", read_image, reds)]
    for name in codec.CODECS:
        encode = _encoder(name)
        encoded = [encode(image) for image in images]
        sizes[name] = sum(len(data) for data in encoded) / len(encoded)
        tasks.append(Task(name, "encode", encode, images))
        tasks.append(Task(name, "decode", codec.decode, encoded))
    milliseconds = _least_milliseconds(tasks, repeats)

    print(f"\n{side} px, {len(reds)} images, CPU ms on one thread")
    print(" " * 12 + "".join(f"{title:>10s}" for title in COLUMNS))
    rows = []
    for name, size in sizes.items():
        encode_ms = milliseconds.get((name, "encode"))
        decode_ms = milliseconds[name, "decode"]
        fraction = size / sizes[PNGS]
        shown_encode = "-" if encode_ms is None else f"{encode_ms:.2f}"
        cells = f"{size / 1e3:10.1f}{fraction:10.3f}{shown_encode:>10s}{decode_ms:10.2f}"
        print(f"{name:12s}{cells}")

        prefix = f"codec_{side}_{name.replace(' ', '_')}"
        decode_row = make_row(
            f"{prefix}_decode",
            decode_ms,
            "CPU ms an image",
            peer="reading the four PNGs with OpenCV",
            ratio_to_peer=milliseconds[PNGS, "decode"] / decode_ms,
            device="cpu",
        )
        bytes_row = make_row(
            f"{prefix}_bytes",
            size,
            "bytes an image",
            peer="the four PNGs",
            ratio_to_peer=fraction,
            device="cpu",
        )
        rows += [decode_row, bytes_row]
        if encode_ms is not None:
            rows.append(make_row(f"{prefix}_encode", encode_ms, "CPU ms an image", device="cpu"))
    return rows


def _encoder(name: str) -> Callable:
    return lambda image: codec.encode(image, name)


def _least_milliseconds(tasks: list[Task], repeats: int) -> dict[tuple[str, str], float]:
    """By codec and direction, the CPU milliseconds an item of the fastest of some repeats."""
    least = {}
    for _ in range(repeats):
        for task in tasks:
            start = time.thread_time()
            for item in task.items:
                task.function(item)
            milliseconds = (time.thread_time() - start) / len(task.items) * 1e3
            key = task.codec, task.direction
            least[key] = min(milliseconds, least.get(key, milliseconds))
    return least
