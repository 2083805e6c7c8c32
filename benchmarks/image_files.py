"""How fast image files are checked and read, beside tifffile and Pillow.

    python benchmarks/image_files.py [--side=2048] [--json=FILE]

Prints CPU milliseconds a file, the least of five runs, as a Markdown table. The image is smooth,
with noise of a few grey levels, as micrographs are.
"""

import io
import sys
import time
from collections.abc import Callable, Sequence

import checkout  # noqa: F401
import cv2
import numpy as np
import tifffile
from command_line import make_parser, run
from PIL import Image
from results import cpu_name, make_row, write_rows

from hpa_jax.images import channel_file
from hpa_jax.images.rule import any_image

RUNS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    args = parser.parse_args(argv)
    return run(lambda: write_rows(args.json, compare(args.side)))


def compare(side: int) -> list[dict]:
    """Prints the table; returns a row for each kind of file."""
    print("| file | MB | checked | read | tifffile | Pillow |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    for name, data in _files(_image(side)).items():
        checked = _milliseconds(lambda data=data: _scan(data))
        read = _milliseconds(lambda data=data: channel_file.read(data, any_image(), "green"))
        by_tifffile = _milliseconds(lambda data=data: tifffile.imread(io.BytesIO(data)))
        by_pillow = _milliseconds(lambda data=data: np.asarray(Image.open(io.BytesIO(data))))
        times = [_text(checked, 2), _text(read), _text(by_tifffile), _text(by_pillow)]
        print(f"| {name} | {len(data) / 1e6:.1f} | {' | '.join(times)} |")
        row = make_row(
            f"read_{name}", read, "CPU ms", peer="Pillow", peer_value=by_pillow, device=cpu_name()
        )
        rows.append(row)
    return rows


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


def _milliseconds(read: Callable) -> float | None:
    """CPU time of the fastest of some runs; None if the reader does not know the format."""
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        try:
            read()
        except Exception:
            return None
        taken.append(time.process_time() - start)
    return 1000 * min(taken)


def _text(milliseconds: float | None, digits: int = 0) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
