"""Outlines of instances as polygons, in pixels from the upper left corner of the field.

A pixel in column x and row y covers x to x + 1 and y to y + 1, as QuPath has it. The corners of
pixels are cut, as by marching squares.
"""

from typing import NamedTuple

import cv2
import numpy as np
from skimage.measure import approximate_polygon, find_contours


class Piece(NamedTuple):
    """One piece of an instance.

    Attributes:
      outline: float64 [N, 2], x and y; the first point is the last one too.
      holes: outlines of what it encloses and does not own.
    """

    outline: np.ndarray
    holes: list[np.ndarray]


def contours(mask: np.ndarray, left: int, top: int, tolerance: float = 0.5) -> list[Piece]:
    """Outlines of a mask, its largest piece first.

    Args:
      mask: bool [h, w].
      left: column of the mask's first pixel in the field.
      top: row of the mask's first pixel in the field.
      tolerance: pixels that an outline may be off for having fewer points; 0: all points.
    """
    padded = np.pad(mask, 1).astype(np.float32)
    outlines = []
    holes = []
    for points in find_contours(padded, 0.5):
        # Centres of pixels lie at halves; the padding shifts by one.
        ring = points[:, ::-1] - 0.5
        simpler = approximate_polygon(ring, tolerance)
        # A triangle has four points, as its first one is repeated.
        if len(simpler) >= 4:
            ring = simpler
        (outlines if _area(ring) > 0 else holes).append(ring)
    outlines.sort(key=lambda ring: -_area(ring))
    pieces = [Piece(ring, []) for ring in outlines]
    for hole in holes:
        _enclosing(pieces, hole).holes.append(hole)
    offset = np.array([left, top], np.float64)
    shifted = []
    for piece in pieces:
        shifted.append(Piece(piece.outline + offset, [hole + offset for hole in piece.holes]))
    return shifted


def _enclosing(pieces: list[Piece], hole: np.ndarray) -> Piece:
    """The smallest piece around a hole."""
    for piece in reversed(pieces):
        outline = piece.outline.astype(np.float32)
        x, y = hole[0].tolist()
        if cv2.pointPolygonTest(outline, (x, y), False) > 0:
            return piece
    return pieces[0]


def _area(ring: np.ndarray) -> float:
    """Signed area of a closed ring: above 0 around what is inside, below 0 around a hole."""
    x = ring[:, 0]
    y = ring[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)
