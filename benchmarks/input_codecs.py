"""What each codec costs: bytes and CPU time of a field, beside the four PNGs that it came from."""

import time
from pathlib import Path

import cv2
import numpy as np
from input_rounds import row

from hpa_jax.data import codec
from hpa_jax.labels import CHANNELS


def read_field(red: Path) -> np.ndarray:
    """uint8 [H, W, 4] from four files."""
    stem = str(red)[: -len("red.png")]
    return np.stack(
        [cv2.imread(f"{stem}{channel}.png", cv2.IMREAD_GRAYSCALE) for channel in CHANNELS], axis=-1
    )


def report_codecs(reds: list[Path], edge: int, repeats: int) -> list[dict]:
    """Prints and returns them: CPU milliseconds on one thread, each the least of `repeats`."""
    cv2.setNumThreads(1)
    images = [read_field(red) for red in reds]
    sources = sum(
        path.stat().st_size
        for red in reds
        for path in red.parent.glob(red.name.replace("red", "*"))
    )
    work = {("four PNGs", "decode"): (read_field, reds)}
    sizes = {"four PNGs": sources / len(reds)}
    for name in codec.CODECS:
        encoded = [codec.encode(image, name) for image in images]
        sizes[name] = sum(map(len, encoded)) / len(encoded)
        work[name, "encode"] = (lambda image, name=name: codec.encode(image, name), images)
        work[name, "decode"] = (codec.decode, encoded)
    least = dict.fromkeys(work, float("inf"))
    for _ in range(repeats):
        for key, (function, items) in work.items():
            start = time.thread_time()
            for item in items:
                function(item)
            least[key] = min(least[key], (time.thread_time() - start) / len(items) * 1e3)
    rows = []
    print(f"\n{edge} px, {len(reds)} fields, CPU ms on one thread")
    print(" " * 12 + "".join(f"{title:>10s}" for title in ("kB", "of PNGs", "encode", "decode")))
    for name, size in sizes.items():
        encode, decode = least.get((name, "encode")), least[name, "decode"]
        share = size / sizes["four PNGs"]
        shown = "-" if encode is None else f"{encode:.2f}"
        shown = "-" if encode is None else f"{encode:.2f}"
        print(f"{name:12s}{size / 1e3:10.1f}{share:10.3f}{shown:>10s}{decode:10.2f}")
        label = f"codec_{edge}_{name.replace(' ', '_')}"
        ratio = least["four PNGs", "decode"] / decode
        rows.append(
            row(
                f"{label}_decode",
                decode,
                "CPU ms a field",
                "reading the four PNGs with OpenCV",
                ratio,
            )
        )
        rows.append(row(f"{label}_bytes", size, "bytes a field", "the four PNGs", share))
        if encode is not None:
            rows.append(row(f"{label}_encode", encode, "CPU ms a field", None, None))
    return rows
