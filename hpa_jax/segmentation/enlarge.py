"""Masks that were found at a reduced scale, at the field's own: smooth, not as blocks."""

import cv2
import numpy as np
from scipy import ndimage


def enlarge(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales a label image up; each instance's mask is interpolated, so that its outline is smooth.

    A pixel goes to the instance that covers it most, where one covers half of it or more.

    Args:
      labels: int32 [h, w], 0 is background.
      height: of the result, h or more.
      width: of the result, w or more.

    Returns:
      int32 [height, width].
    """
    if labels.shape == (height, width):
        return labels.astype(np.int32)
    down = labels.shape[0] / height
    across = labels.shape[1] / width
    result = np.zeros((height, width), np.int32)
    cover = np.zeros((height, width), np.float32)
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        # A pixel around, where the mask fades.
        rows = _grown(window[0], labels.shape[0])
        columns = _grown(window[1], labels.shape[1])
        mask = (labels[rows, columns] == number).astype(np.float32)
        place = (
            slice(int(rows.start / down), min(height, int(np.ceil(rows.stop / down)))),
            slice(int(columns.start / across), min(width, int(np.ceil(columns.stop / across)))),
        )
        here = _interpolated(mask, rows.start, columns.start, place, down, across)
        wins = (here >= 0.5) & (here > cover[place])
        result[place][wins] = number
        cover[place][wins] = here[wins]
    return result


def _grown(window: slice, length: int) -> slice:
    return slice(max(0, window.start - 1), min(length, window.stop + 1))


def _interpolated(
    mask: np.ndarray,
    top: int,
    left: int,
    place: tuple[slice, slice],
    down: float,
    across: float,
) -> np.ndarray:
    """The mask at the pixels of `place`; centres of pixels lie at halves in both scales."""
    rows = (np.arange(place[0].start, place[0].stop) + 0.5) * down - 0.5 - top
    columns = (np.arange(place[1].start, place[1].stop) + 0.5) * across - 0.5 - left
    y, x = np.meshgrid(rows.astype(np.float32), columns.astype(np.float32), indexing="ij")
    return cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
