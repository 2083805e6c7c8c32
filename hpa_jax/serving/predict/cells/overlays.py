"""A picture of an image with its cells: outlines coloured by label, and a list of the cells.

At the left the image in false colours with an outline around each cell and the cell's number in
it; at the right a line a cell: its number, and the labels that were decided with their scores. The
colour is that of the cell's surest label, the same in all pictures; a cell without a label is gray.
The outline of a cell that touches the border is thin.
"""

import colorsys
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from hpa_jax.images.false_color import false_color, stretch_contrast
from hpa_jax.images.resize import resize
from hpa_jax.serving import decision
from hpa_jax.serving.predict.cells.found import FieldCells
from hpa_jax.serving.predict.overlays import MOST_LABELS, PictureFolder

_SMALLEST_SIDE = 512
_LARGEST_SIDE = 1024
_LIST_WIDTH = 540
_LINE_HEIGHT = 18
_MARGIN = 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)

NO_LABEL = (170, 170, 170)
"""Colour of a cell without a label."""

# Neighbours in the circle of hues are far apart by it: the golden ratio.
_HUE_STEP = 0.618034


class CellOverlays(PictureFolder):
    """Writes the pictures of a prediction cell by cell; see `PictureFolder`."""

    def write(self, image_id: str, field: np.ndarray, found: FieldCells) -> None:
        """Writes the picture of an image.

        Args:
          image_id: its Id.
          field: uint8 [H, W, 4].
          found: its cells.
        """
        self.put(image_id, draw(field, found, self.description))


def draw(field: np.ndarray, found: FieldCells, description: Mapping[str, Any]) -> np.ndarray:
    """Draws the picture of an image.

    Args:
      field: uint8 [H, W, 4].
      found: its cells.
      description: contents of model.json.

    Returns:
      uint8 [height, width, 3] RGB.
    """
    picture, factor = shown_field(field)
    colours, lines = [], []
    for probabilities in found.probabilities:
        labels = decided_labels(description, probabilities)
        colours.append(colour_of(labels[0]) if labels else NO_LABEL)
        lines.append(caption(description, probabilities, labels))
    for cell, outline, colour in zip(found.cells, found.outlines, colours, strict=True):
        thickness = 1 if cell.touches_border else 2
        corners = np.rint((outline + 0.5) * factor - 0.5).astype(np.int32)
        cv2.polylines(picture, [corners], True, colour, thickness, cv2.LINE_AA)
    for cell in found.cells:
        place = (int(cell.centroid_x * factor) - 8, int(cell.centroid_y * factor) + 6)
        # A dark rim keeps the number readable on bright cells.
        cv2.putText(picture, str(cell.cell), place, _FONT, 0.6, _BLACK, 5, cv2.LINE_AA)
        cv2.putText(picture, str(cell.cell), place, _FONT, 0.6, _WHITE, 1, cv2.LINE_AA)
    return _with_list(picture, found, colours, lines)


def shown_field(field: np.ndarray) -> tuple[np.ndarray, float]:
    """An image in false colours, as large as a picture shows it.

    Returns:
      uint8 [height, width, 3] RGB, and how many pixels of it a pixel of the image became.
    """
    longer = max(field.shape[:2])
    factor = min(max(longer, _SMALLEST_SIDE), _LARGEST_SIDE) / longer
    height = max(1, round(field.shape[0] * factor))
    width = max(1, round(field.shape[1] * factor))
    shown = false_color(stretch_contrast(resize(field, (height, width))))
    return np.ascontiguousarray(shown), factor


def decided_labels(description: Mapping[str, Any], probabilities: np.ndarray) -> list[int]:
    """Positions of the labels that a cell's scores, float32 [L], decide on.

    The surest first, MOST_LABELS at most; may be none.
    """
    decided = decision.decide(description, probabilities[None])[0]
    nearness = decision.nearness(description, probabilities[None])[0]
    order = np.argsort(-nearness, kind="stable")
    return [int(k) for k in order if decided[k]][:MOST_LABELS]


def caption(description: Mapping[str, Any], probabilities: np.ndarray, labels: list[int]) -> str:
    """A cell's labels with their scores, or the one that came nearest, in brackets."""
    names = decision.label_names(description)
    if labels:
        return ", ".join(f"{names[k]} {probabilities[k]:.2f}" for k in labels)
    nearest = decision.nearness(description, probabilities[None])[0].argmax()
    return f"({names[nearest]} {probabilities[nearest]:.2f})"


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a label by its position, RGB; bright, since images are dark."""
    hue = (label * _HUE_STEP) % 1
    saturation = (0.5, 0.75)[label % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _with_list(
    picture: np.ndarray,
    found: FieldCells,
    colours: list[tuple[int, int, int]],
    lines: list[str],
) -> np.ndarray:
    """Puts the list of cells beside the picture."""
    height = max(picture.shape[0], 2 * _MARGIN + _LINE_HEIGHT * max(1, len(lines)))
    page = np.zeros((height, picture.shape[1] + _LIST_WIDTH, 3), np.uint8)
    page[: picture.shape[0], : picture.shape[1]] = picture
    left = picture.shape[1] + _MARGIN
    if not lines:
        _write(page, "no cells", left, _MARGIN + 12, _WHITE)
    for number, (cell, colour, line) in enumerate(zip(found.cells, colours, lines, strict=True)):
        baseline = _MARGIN + _LINE_HEIGHT * number + 12
        _write(page, f"{cell.cell}", left, baseline, colour)
        border = " | at the border" if cell.touches_border else ""
        _write(page, line + border, left + 44, baseline, _WHITE)
    return page


def _write(page: np.ndarray, text: str, left: int, baseline: int, colour: tuple) -> None:
    # OpenCV's letters are those of ASCII.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(page, plain, (left, baseline), _FONT, 0.4, colour, 1, cv2.LINE_AA)
