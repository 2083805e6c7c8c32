"""How fast image files are checked and read, beside tifffile and Pillow.

    python benchmarks/image_files.py [--side=2048]

Prints CPU milliseconds a file, the least of five runs, as a Markdown table. The image is smooth,
with noise of a few grey levels, as micrographs are.
"""

import argparse
import io
import time
from collections.abc import Callable

import checkout  # noqa: F401
import cv2
import numpy as np
import tifffile
from PIL import Image

from hpa_jax.images import channel_file
from hpa_jax.images.rule import any_image

RUNS = 5


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    side = parser.parse_args().side
    print("| file | MB | checked | read | tifffile | Pillow |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, data in _files(_image(side)).items():
        cells = [
            f"{len(data) / 1e6:.1f}",
            _milliseconds(lambda data=data: _scan(data), 2),
            _milliseconds(lambda data=data: channel_file.read(data, any_image(), "green")),
            _milliseconds(lambda data=data: tifffile.imread(io.BytesIO(data))),
            _milliseconds(lambda data=data: np.asarray(Image.open(io.BytesIO(data)))),
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _image(side: int) -> np.ndarray:
    """uint16 [side, side]."""
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.random((side, side)), (0, 0), 8)
    blobs = (blobs - blobs.min()) / (blobs.max() - blobs.min())
    noise = rng.normal(scale=4 / 255, size=blobs.shape)
    return np.round(np.clip(blobs + noise, 0, 1) * 65535).astype(np.uint16)


def _files(image: np.ndarray) -> dict[str, bytes]:
    gray = (image >> 8).astype(np.uint8)
    files = {}
    for packing in (None, "lzw", "zlib", "zstd"):
        for stored in (gray, image):
            file = io.BytesIO()
            predictor = packing is not None
            tifffile.imwrite(
                file, stored, compression=packing, predictor=predictor, rowsperstrip=64
            )
            name = f"TIFF, {8 * stored.itemsize} bits, {packing or 'not packed'}"
            files[name] = file.getvalue()
    for stored in (gray, image):
        name = f"PNG, {8 * stored.itemsize} bits"
        files[name] = cv2.imencode(".png", stored)[1].tobytes()
    files["JPG"] = cv2.imencode(".jpg", gray)[1].tobytes()
    return files


def _scan(data: bytes) -> None:
    channel_file.scan_file(io.BytesIO(data), any_image())


def _milliseconds(run: Callable, digits: int = 0) -> str:
    """CPU time of the fastest of some runs; "-" if the reader does not know the format."""
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        try:
            run()
        except Exception:
            return "-"
        taken.append(time.process_time() - start)
    return f"{1000 * min(taken):.{digits}f}"


if __name__ == "__main__":
    main()
