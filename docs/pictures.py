"""What the programs that draw pictures of the docs share: tiles with captions, the command line."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from hpa_jax.errors import EXIT_BAD_INPUT, InputError

GAP = 6
"""px between tiles, and around them."""

_CAPTION = 40  # px under a tile: two lines


class Tile(NamedTuple):
    """A picture with a caption.

    Attributes:
      pixels: uint8 `[S, S, 3]` (red, green, blue) or `[S, S]`, gray.
      name: the caption's first line.
      remark: its second, in gray.
    """

    pixels: np.ndarray
    name: str
    remark: str


def grid(tiles: Sequence[Tile], columns: int) -> np.ndarray:
    """Tiles of one size in rows, uint8 [H, W, 3], red, green, blue."""
    size = len(tiles[0].pixels)
    step_y = size + _CAPTION + GAP
    step_x = size + GAP
    rows = -(-len(tiles) // columns)
    page = np.full((rows * step_y + GAP, columns * step_x + GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y = number // columns * step_y + GAP
        x = number % columns * step_x + GAP
        pixels = tile.pixels
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., np.newaxis], 3, axis=-1)
        page[y : y + size, x : x + size] = pixels
        for line, (text, colour) in enumerate(((tile.name, (0, 0, 0)), (tile.remark, (96,) * 3))):
            at = (x, y + size + 15 + 17 * line)
            cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return page


def make_parser(description: str, out: str) -> argparse.ArgumentParser:
    """The flags of all: --out, with its default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(out), help="PNG file to write")
    return parser


def write_picture(out: Path, draw: Callable[[], np.ndarray]) -> int:
    """Draws a picture, uint8 [H, W, 3], writes it and says so; returns the exit status."""
    try:
        page = draw()
        out.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(out), page[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            raise InputError(f"{out}: cannot be written: give --out a writable .png file")
    except (InputError, OSError, cv2.error) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(f"{out}: {page.shape[1]} x {page.shape[0]} px, {out.stat().st_size / 1e3:.0f} kB")
    return 0
