"""Nuclei, from the blue channel: Otsu's threshold, then the distance to their edge.

Touching nuclei are one piece above the threshold. The distance of a pixel from the edge of that
piece has a peak in each nucleus, and a watershed of it cuts between the peaks.

All lengths are relative to the nuclei themselves, whose diameter is measured first: a field of 128
px and one of 3072 px, of a lens of 20x or 63x, need no setting.

References:
  Otsu, A threshold selection method from gray-level histograms, IEEE SMC 9, 1979.
  Malpica et al., Applying watershed algorithms to the segmentation of clustered nuclei, Cytometry
    28, 1997.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

# Before the diameter is known: so many pixels, and of a field with a side of 500 px one more.
_FIRST_BLUR = 1.0
_FIRST_BLUR_SIDE = 500.0

# Fractions of the diameter of a nucleus.
_BLUR = 0.1
_SHARP_BLUR = 0.03
_OPENING = 0.08
_CLOSING = 0.15
_DISTANCE_BLUR = 0.08
_PEAK_DISTANCE = 0.4
_LEAST_DEPTH = 0.1
# Fraction of the diameter's square; a disc has 0.79.
_LEAST_AREA = 0.1
_LEAST_AREA_AT_RIM = 0.03

# How well a threshold has to part the values, as the variance between the two classes of all
# variance: noise without nuclei has 0.64, and the least of 77 real fields 0.70.
_LEAST_SEPARATION = 0.67


def nucleus_diameter(blue: np.ndarray) -> float | None:
    """The diameter of a typical nucleus.

    It is that of the largest disc in a piece above the threshold, and of all pieces the median, in
    which each counts by its area: dust weighs nothing.

    Args:
      blue: float32 [H, W], intensities of any unit.

    Returns:
      Pixels; None where nothing stands out.
    """
    blur = _FIRST_BLUR + max(blue.shape) / _FIRST_BLUR_SIDE
    mask = above_otsu(blue, blur)
    pieces, count = ndimage.label(mask)
    if not count:
        return None
    depth = ndimage.maximum(edge_distance(mask), pieces, np.arange(1, count + 1))
    area = np.bincount(pieces.ravel())[1:]
    order = np.argsort(depth)
    half = area.sum() / 2
    place = np.searchsorted(np.cumsum(area[order]), half)
    return 2 * float(depth[order[place]])


def find_nuclei(blue: np.ndarray, diameter: float) -> np.ndarray:
    """Finds the nuclei.

    Args:
      blue: float32 [H, W], intensities of any unit.
      diameter: of a nucleus in pixels, as of `nucleus_diameter`.

    Returns:
      int32 [H, W], numbered from 1 without gaps; 0 is background.
    """
    mask = above_otsu(blue, max(0.7, _BLUR * diameter))
    reach = max(1, round(_OPENING * diameter))
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc(reach)).astype(bool)
    depth = cv2.GaussianBlur(edge_distance(mask), (0, 0), max(0.5, _DISTANCE_BLUR * diameter))
    pieces, _ = ndimage.label(mask)
    peaks = peak_local_max(
        depth,
        min_distance=max(1, round(_PEAK_DISTANCE * diameter)),
        threshold_abs=_LEAST_DEPTH * diameter,
        labels=pieces,
        exclude_border=False,
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    nuclei = watershed(-depth, seeds, mask=mask).astype(np.int32)
    nuclei = _up_to_half_maximum(nuclei, blue, diameter)
    return _without_small(nuclei, diameter)


def _up_to_half_maximum(nuclei: np.ndarray, blue: np.ndarray, diameter: float) -> np.ndarray:
    """Ends each nucleus where it is half as bright as inside, as a blurred edge is there.

    The blur and the root that find all of them, dim ones too, put the threshold's edge outside.
    """
    sharp = cv2.GaussianBlur(blue, (0, 0), max(0.5, _SHARP_BLUR * diameter))
    is_outside = nuclei == 0
    if not nuclei.any() or not is_outside.any():
        return nuclei
    black = np.median(sharp[is_outside])
    reach = max(1, round(_CLOSING * diameter))
    kernel = disc(reach)
    tight = np.zeros_like(nuclei)
    for number, window in enumerate(ndimage.find_objects(nuclei), start=1):
        own = nuclei[window] == number
        half = (black + np.median(sharp[window][own])) / 2
        is_bright = (own & (sharp[window] >= half)).astype(np.uint8)
        # Chromatin is uneven: what it leaves dark inside, or bites from the edge, is nucleus too.
        padded = cv2.copyMakeBorder(is_bright, *[reach] * 4, cv2.BORDER_REPLICATE)
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[reach:-reach, reach:-reach]
        pieces, count = ndimage.label(own & (closed > 0))
        if count:
            largest = 1 + np.argmax(np.bincount(pieces.ravel())[1:])
            whole = ndimage.binary_fill_holes(pieces == largest)
            tight[window][whole & own] = number
    return tight


def edge_distance(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a mask from its edge, float32 [H, W]; a picture's rim is no edge.

    Args:
      mask: bool [H, W].
    """
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


def disc(radius: int) -> np.ndarray:
    """A disc as a kernel of OpenCV's, uint8 [2 r + 1, 2 r + 1]."""
    side = 2 * radius + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _without_small(nuclei: np.ndarray, diameter: float) -> np.ndarray:
    """Nuclei without dust, numbered anew from 1; of one at the rim a part may be all there is."""
    count = int(nuclei.max())
    area = np.bincount(nuclei.ravel(), minlength=count + 1)
    at_rim = np.zeros(count + 1, bool)
    for line in (nuclei[0], nuclei[-1], nuclei[:, 0], nuclei[:, -1]):
        at_rim[line] = True
    least = np.where(at_rim, _LEAST_AREA_AT_RIM, _LEAST_AREA) * diameter**2
    is_kept = area >= least
    is_kept[0] = False
    number = np.zeros(count + 1, np.int32)
    number[is_kept] = np.arange(1, is_kept.sum() + 1)
    return number[nuclei]


def above_otsu(blue: np.ndarray, blur: float) -> np.ndarray:
    """Where something stands out, holes filled, bool [H, W]; nowhere, where it may be noise."""
    # The square root: beside a bright nucleus, as of a dividing cell, dim ones count as well.
    values = np.sqrt(cv2.GaussianBlur(blue, (0, 0), blur))
    low = values.min()
    if values.max() - low < 1e-6:
        return np.zeros(blue.shape, bool)
    mask = values > threshold_otsu(values)
    if _separation(values, mask) < _LEAST_SEPARATION:
        return np.zeros(blue.shape, bool)
    return ndimage.binary_fill_holes(mask)


def _separation(values: np.ndarray, mask: np.ndarray) -> float:
    """The variance between what is above a threshold and what is below, of all variance."""
    fraction = mask.mean()
    above = values[mask].mean()
    below = values[~mask].mean()
    return float(fraction * (1 - fraction) * (above - below) ** 2 / values.var())
