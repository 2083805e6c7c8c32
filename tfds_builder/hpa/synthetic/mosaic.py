"""A mosaic of synthetic fields, one for each of the 28 labels, as one PNG.

    python -m tfds_builder.hpa.synthetic.render.mosaic --out FILE [--seed=1] [--size=256] [--tile=144]

Each tile is a part of a field of `size` pixels: protein green, microtubules red and nucleus blue, as these images are
mostly shown; yellow, the endoplasmic reticulum, is left out, since it would hide the rest. The part is the field's
middle, or where the cell divides for the two labels that only dividing cells show.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from hpa_jax.errors import EXIT_BAD_INPUT, InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.synthetic.cells import Cells
from tfds_builder.hpa.synthetic.layout import MITOTIC
from tfds_builder.hpa.synthetic.render import cells_of, render

_COLUMNS = 7
_GAP = 4
_CAPTION = 20  # pixels under a tile


def _corner(cells: Cells, name: str, tile: int) -> tuple[int, int]:
    """Left and top of the part of a field to show."""
    middle = np.full(2, cells.size / 2)
    if name == "Cytokinetic bridge":
        middle = cells.bridges[0].mean(axis=0)
    elif name == "Mitotic spindle":
        middle = cells.centre[cells.kind == MITOTIC][0]
    left, top = np.clip(middle - tile / 2, 0, cells.size - tile).astype(int).tolist()
    return left, top


def mosaic(seed: int, size: int, tile: int) -> np.ndarray:
    """The mosaic in OpenCV's order, uint8 [rows, columns, 3]: 7 by 4 captioned tiles of `tile` pixels.

    Raises InputError where a tile is larger than its field.
    """
    if not 0 < tile <= size:
        raise InputError(
            f"mosaic tiles of {tile} px do not fit fields of {size} px: use a --tile of 1 to {size}"
        )
    step_y, step_x = tile + _CAPTION + _GAP, tile + _GAP
    rows = -(-len(LABELS) // _COLUMNS)
    picture = np.full((rows * step_y + _GAP, _COLUMNS * step_x + _GAP, 3), 255, np.uint8)
    for label, name in enumerate(LABELS):
        left, top = _corner(cells_of(seed, label, size), name, tile)
        # Five of eight bits are kept: the eye hardly sees it, and camera noise would fill the PNG.
        field = render(seed, label, (label,), size)[top : top + tile, left : left + tile] & 0xF8
        y, x = label // _COLUMNS * step_y + _GAP, label % _COLUMNS * step_x + _GAP
        picture[y : y + tile, x : x + tile] = field[..., [2, 1, 0]]
        text, scale = f"{label} {name}", 0.45
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
        scale *= min(1.0, tile / width)
        at = (x, y + tile + _CAPTION - 6)
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builder.hpa.synthetic.render.mosaic",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--out", required=True, help="PNG file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=256, help="pixels a side of the fields drawn")
    parser.add_argument("--tile", type=int, default=144, help="pixels a side of the part shown")
    args = parser.parse_args(argv)
    try:
        picture = mosaic(args.seed, args.size, args.tile)
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            raise InputError(f"{out}: cannot be written: give --out a writable .png file")
    except (InputError, OSError, cv2.error) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(
        f"{out}: {len(LABELS)} labels, {picture.shape[1]} x {picture.shape[0]} px, {out.stat().st_size / 1e6:.1f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
