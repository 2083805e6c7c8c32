"""A mosaic of synthetic images, one for each of the 28 labels, as one PNG.

    python -m tfds_builder.hpa.synthetic.mosaic --out FILE [--seed=1] [--size=256] [--tile=144]

Each tile is a crop of an image of `size` pixels: protein green, microtubules red and nucleus blue,
as these images are usually shown; yellow, the endoplasmic reticulum, is left out, since it would
hide the rest. The crop is the image's middle, or where the cell divides for the two labels that
only dividing cells show.
"""

import argparse
import sys

import cv2
import numpy as np

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.errors import EXIT_BAD_INPUT, InputError, one_line
from hpa_jax.labels import LABELS
from tfds_builder.hpa.synthetic.cells import Cells
from tfds_builder.hpa.synthetic.layout import MITOTIC
from tfds_builder.hpa.synthetic.render import cells_of, render

_COLUMNS = 7
_GAP = 4
_CAPTION = 20  # pixels under a tile


def _corner(cells: Cells, name: str, tile: int) -> tuple[int, int]:
    """Left and top of the crop of an image."""
    middle = np.full(2, cells.size / 2)
    if name == "Cytokinetic bridge":
        middle = cells.bridges[0].mean(axis=0)
    elif name == "Mitotic spindle":
        middle = cells.centre[cells.kind == MITOTIC][0]
    left, top = np.clip(middle - tile / 2, 0, cells.size - tile).astype(int).tolist()
    return left, top


def mosaic(seed: int, size: int, tile: int) -> np.ndarray:
    """Draws the mosaic: 7 by 4 captioned tiles.

    Args:
      seed: of the images.
      size: of the images, pixels a side.
      tile: pixels a side of a tile.

    Returns:
      uint8 [rows, columns, 3] in OpenCV's order.

    Raises:
      InputError: a tile is larger than its image.
    """
    if not 0 < tile <= size:
        raise InputError(
            f"mosaic tiles of {tile} px do not fit images of {size} px: use a --tile of 1 to {size}"
        )
    step_y = tile + _CAPTION + _GAP
    step_x = tile + _GAP
    rows = -(-len(LABELS) // _COLUMNS)
    picture = np.full((rows * step_y + _GAP, _COLUMNS * step_x + _GAP, 3), 255, np.uint8)
    for label, name in enumerate(LABELS):
        left, top = _corner(cells_of(seed, label, size), name, tile)
        image = render(seed, label, (label,), size)[top : top + tile, left : left + tile]
        # Five of eight bits are kept: the eye hardly sees it, and camera noise would fill the PNG.
        image = image & 0xF8
        row, column = divmod(label, _COLUMNS)
        y = row * step_y + _GAP
        x = column * step_x + _GAP
        picture[y : y + tile, x : x + tile] = image[..., [2, 1, 0]]
        _write_caption(picture, f"{label} {name}", (x, y + tile + _CAPTION - 6), tile)
    return picture


def _write_caption(picture: np.ndarray, text: str, at: tuple[int, int], width: int) -> None:
    """Writes a caption into the picture, no wider than `width` pixels."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = 0.45
    (natural_width, _), _ = cv2.getTextSize(text, font, scale, 1)
    scale *= min(1.0, width / natural_width)
    cv2.putText(picture, text, at, font, scale, (0, 0, 0), 1, cv2.LINE_AA)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builder.hpa.synthetic.mosaic",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--out", required=True, type=path_flag("--out"), help="PNG file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=256, help="pixels a side of the images drawn")
    parser.add_argument("--tile", type=int, default=144, help="pixels a side of the crop shown")
    args = parser.parse_args(argv)
    try:
        picture = mosaic(args.seed, args.size, args.tile)
        out = args.out
        out.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            raise InputError(f"{out}: cannot be written: give --out a writable .png file")
    except (InputError, OSError, cv2.error) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    height, width, _ = picture.shape
    megabytes = out.stat().st_size / 1e6
    print(f"{out}: {len(LABELS)} labels, {width} x {height} px, {megabytes:.1f} MB")
    return 0


if __name__ == "__main__":
    run_program(main)
