"""Masks that were found at a reduced scale, at the field's own: smooth, not as blocks."""

import cv2
import numpy as np
from scipy import ndimage

# Of the masks before they are interpolated, in pixels of the small scale: linear interpolation
# alone leaves their steps. So far around an instance its blurred mask reaches.
_BLUR = 0.8
_REACH = 3
# What lies at the rim of a field goes on beyond it.
_RIM = cv2.BORDER_REPLICATE


def enlarge(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales a label image up; each instance's mask is interpolated, so that its outline is smooth.

    A pixel is of the foreground where all instances together cover half of it or more, and goes to
    the one that covers most of it.

    Args:
      labels: int32 [h, w], 0 is background.
      height: of the result, h or more.
      width: of the result, w or more.

    Returns:
      int32 [height, width].
    """
    if labels.shape == (height, width):
        return labels.astype(np.int32)
    scales = labels.shape[0] / height, labels.shape[1] / width
    everywhere = slice(0, height), slice(0, width)
    is_foreground = _interpolated(labels > 0, (0, 0), everywhere, scales) >= 0.5
    result = np.zeros((height, width), np.int32)
    most = np.zeros((height, width), np.float32)
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        small = []
        place = []
        for side, length, scale, full in zip(
            window, labels.shape, scales, (height, width), strict=True
        ):
            start = max(0, side.start - _REACH)
            stop = min(length, side.stop + _REACH)
            small.append(slice(start, stop))
            place.append(slice(int(start / scale), min(full, int(np.ceil(stop / scale)))))
        mask = labels[tuple(small)] == number
        place = tuple(place)
        cover = _interpolated(mask, (small[0].start, small[1].start), place, scales)
        wins = is_foreground[place] & (cover > most[place])
        result[place][wins] = number
        most[place][wins] = cover[wins]
    return _largest_pieces(result)


def _largest_pieces(labels: np.ndarray) -> np.ndarray:
    """Labels without the crumbs that come off where an instance is thin."""
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        own = labels[window] == number
        count, pieces = cv2.connectedComponents(own.astype(np.uint8), connectivity=4)
        if count > 2:
            largest = 1 + np.argmax(np.bincount(pieces.ravel())[1:])
            labels[window][own & (pieces != largest)] = 0
    return labels


def _interpolated(
    mask: np.ndarray,
    corner: tuple[int, int],
    place: tuple[slice, slice],
    scales: tuple[float, float],
) -> np.ndarray:
    """How much of each pixel of `place` a mask covers, float32, 0 to 1.

    Args:
      mask: bool [h, w], a part of the small label image.
      corner: its first row and column there.
      place: rows and columns of the large one.
      scales: small pixels a large one, down and across.
    """
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _BLUR, borderType=_RIM)
    # Centres of pixels lie at halves in both scales.
    rows = (np.arange(place[0].start, place[0].stop) + 0.5) * scales[0] - 0.5 - corner[0]
    columns = (np.arange(place[1].start, place[1].stop) + 0.5) * scales[1] - 0.5 - corner[1]
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return cv2.remap(blurred, x, y, cv2.INTER_LINEAR, borderMode=_RIM)
