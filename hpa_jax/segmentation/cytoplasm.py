"""Cells around given nuclei, from the red and yellow channels: microtubules and ER fill a cell.

A watershed grows from the nuclei through what is bright, and meets where it is darkest between two.
What is much darker than the same cell beside its nucleus is background: each cell has a threshold
of its own, since one field has bright cells and dim ones.

Reference:
  Vincent and Soille, Watersheds in digital spaces, IEEE TPAMI 13, 1991.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from hpa_jax.segmentation.nuclei import disc

# Fractions of the diameter of a nucleus.
_BLUR = 0.08
_RING = 0.25
_LONGEST_REACH = 2.5
_OPENING = 0.06
_REACH_WITHOUT_SIGNAL = 0.4

# Intensity at the edge of a cell, as a fraction of that beside its nucleus.
_EDGE_INTENSITY = 0.16
# Of the signal beside a nucleus above black, as a fraction of the field's median.
_LEAST_CONTRAST = 0.4
# What a nucleus's diameter of distance counts, in units of the brightest cytoplasm.
_DISTANCE_WEIGHT = 0.25
_BLACK_PERCENTILE = 1.0
_WHITE_PERCENTILE = 99.0


def cytoplasm_signal(channels: np.ndarray, diameter: float) -> np.ndarray | None:
    """How much cytoplasm there is: the square roots of several channels, averaged.

    Args:
      channels: float32 [H, W, C], intensities of any unit; a channel without contrast is left out.
      diameter: of a nucleus in pixels.

    Returns:
      float32 [H, W], 0 to 1; None where no channel has contrast.
    """
    total = np.zeros(channels.shape[:2], np.float32)
    used = 0
    for number in range(channels.shape[-1]):
        channel = channels[..., number]
        black, white = np.percentile(channel, (_BLACK_PERCENTILE, _WHITE_PERCENTILE))
        if white - black < 1e-6:
            continue
        # The root makes a dim cell beside a bright one count.
        total += np.sqrt(np.clip((channel - black) / (white - black), 0, 1))
        used += 1
    if not used:
        return None
    return cv2.GaussianBlur(total / used, (0, 0), max(0.5, _BLUR * diameter))


def grow_cells(nuclei: np.ndarray, signal: np.ndarray | None, diameter: float) -> np.ndarray:
    """Grows a cell around each nucleus.

    Args:
      nuclei: int32 [H, W], numbered from 1.
      signal: float32 [H, W] of `cytoplasm_signal`. None: each cell is its nucleus with a narrow
        margin, as nothing shows where it ends.
      diameter: of a nucleus in pixels.

    Returns:
      int32 [H, W]; a cell has its nucleus's number, is one piece and has no hole.
    """
    outside = (nuclei == 0).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, 5) / diameter
    if signal is None:
        territory = watershed(distance, nuclei)
        is_cell = distance <= _REACH_WITHOUT_SIGNAL
    else:
        landscape = _DISTANCE_WEIGHT * distance - signal
        landscape[nuclei > 0] = landscape.min()
        territory = watershed(landscape, nuclei)
        is_cell = _is_bright(signal, territory, distance) & (distance < _LONGEST_REACH)
    is_cell |= nuclei > 0
    cells = np.where(is_cell, territory, 0).astype(np.int32)
    return _one_piece_each(cells, nuclei, max(1, round(_OPENING * diameter)))


def _is_bright(signal: np.ndarray, territory: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Whether a pixel is as bright as the cell is whose territory it lies in, bool [H, W]."""
    count = int(territory.max())
    if not count:
        return np.zeros(signal.shape, bool)
    ring = np.where((distance > 0) & (distance < _RING), territory, 0)
    beside = ndimage.median(signal, ring, np.arange(1, count + 1))
    beside = np.nan_to_num(np.concatenate([[0.0], np.atleast_1d(beside)]))
    black = np.percentile(signal, _BLACK_PERCENTILE)
    # The signal is the root of an intensity.
    contrast = beside - black
    # Beside a nucleus without cytoplasm there is noise, which would be taken for its cell.
    contrast = np.maximum(contrast, _LEAST_CONTRAST * np.median(contrast[1:]))
    threshold = black + np.sqrt(_EDGE_INTENSITY) * contrast
    return signal > threshold[territory]


def _one_piece_each(cells: np.ndarray, nuclei: np.ndarray, reach: int) -> np.ndarray:
    """Cells without threads, without what is not joined to the nucleus, and without holes."""
    kernel = disc(reach)
    whole = np.zeros_like(cells)
    for number, window in enumerate(ndimage.find_objects(cells), start=1):
        if window is None:
            continue
        nucleus = nuclei[window] == number
        own = (cells[window] == number).astype(np.uint8)
        # Beyond the window lies what is not this cell's, or the rim, which cuts no cell.
        padded = cv2.copyMakeBorder(own, *[reach] * 4, cv2.BORDER_REPLICATE)
        opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel)[reach:-reach, reach:-reach]
        mask = (opened > 0) | nucleus
        pieces, _ = ndimage.label(mask)
        joined = np.unique(pieces[nucleus])
        mask = ndimage.binary_fill_holes(np.isin(pieces, joined[joined > 0]))
        # A hole may be another cell.
        free = mask & ((cells[window] == number) | (cells[window] == 0))
        whole[window][free] = number
    return whole
