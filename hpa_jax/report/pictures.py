"""Small pictures of an image: a preview of two panels, and a strip of five with an activation map.

Who cannot tell red from green of the false colours looks at the gray panel: the protein is what the
labels are about.

In a strip, what speaks for a label is tinted orange and edged in light blue where the map reaches
half its maximum; the channel's own gray shines through. A map that is 0 everywhere tints nothing.
"""

import base64
from typing import NamedTuple

import cv2
import numpy as np
from markupsafe import Markup

from hpa_jax.images.false_color import false_color, stretch_contrast
from hpa_jax.labels import CHANNELS

SIDE = 96
"""Pixels a side of one panel."""
LINE_WIDTH = 2
"""Pixels of the gray line between two panels."""
HEIGHT = 2 * SIDE + LINE_WIDTH
"""Pixels of a preview; it is SIDE wide."""
PANELS = 1 + len(CHANNELS)
"""Of a strip."""
WIDTH = PANELS * SIDE + (PANELS - 1) * LINE_WIDTH
"""Pixels of a strip; it is SIDE high."""

DARK = 10
"""A channel of which no pixel is brighter (of 255) counts as empty."""
SATURATED_FRACTION = 0.01
"""A channel with more of its pixels at 255 counts as saturated: its bright spots look alike."""

_WEBP_QUALITY = 70
_TINT = np.array([255, 140, 0], np.float32)
_EDGE = (86, 180, 233)
_TINT_STRENGTH = 0.6  # where the map is largest


class Preview(NamedTuple):
    """What a page shows of one image.

    Attributes:
      uri: of a WebP, SIDE pixels wide and HEIGHT high.
      empty: names of the channels without a signal.
      saturated: names of the channels with more than SATURATED_FRACTION of their pixels at 255.
    """

    uri: Markup
    empty: tuple[str, ...]
    saturated: tuple[str, ...]

    def faults(self) -> list[str]:
        """Returns what is wrong with its channels, in words."""
        empty = [f"{channel} empty" for channel in self.empty]
        return empty + [f"{channel} saturated" for channel in self.saturated]


def make_preview(image: np.ndarray) -> Preview:
    """Makes the preview of an image, uint8 [H, W, 4], and checks its channels."""
    pixels = image.reshape(-1, len(CHANNELS))
    empty = pixels.max(axis=0) <= DARK
    saturated = (pixels == 255).mean(axis=0) > SATURATED_FRACTION
    names = np.array(CHANNELS)
    return Preview(
        data_uri(preview_panels(image)),
        empty=tuple(names[empty].tolist()),
        saturated=tuple(names[saturated].tolist()),
    )


def preview_panels(image: np.ndarray) -> np.ndarray:
    """Draws false colours above the gray protein channel.

    Args:
      image: uint8 [H, W, 4].

    Returns:
      uint8 [HEIGHT, SIDE, 3] RGB.
    """
    small = stretch_contrast(fit_square(image, SIDE))
    line = np.full((LINE_WIDTH, SIDE, 3), 128, np.uint8)
    return np.concatenate([false_color(small), line, _gray(small, CHANNELS.index("green"))])


def overlay_strip(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays an activation map over the channels of an image.

    Args:
      image: uint8 [H, W, 4].
      heat: float [h, w], 0 or more, over the complete `image`.

    Returns:
      uint8 [SIDE, WIDTH, 3] RGB: false colours, then each channel in gray with the map.
    """
    small = stretch_contrast(fit_square(image, SIDE))
    spread = spread_heat(heat, image.shape[:2])
    above_half = (spread >= 0.5).astype(np.uint8)
    edges, _ = cv2.findContours(above_half, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # The tint never covers the channel completely.
    weight = _TINT_STRENGTH * spread[..., None]
    line = np.full((SIDE, LINE_WIDTH, 3), 128, np.uint8)
    strip = [false_color(small)]
    for channel in range(len(CHANNELS)):
        gray = _gray(small, channel).astype(np.float32)
        panel = np.rint(gray * (1 - weight) + _TINT * weight).astype(np.uint8)
        panel = cv2.drawContours(np.ascontiguousarray(panel), edges, -1, _EDGE, 1)
        strip += [line, panel]
    return np.concatenate(strip, axis=1)


def spread_heat(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Enlarges a map over an image of `shape` to a panel.

    Args:
      heat: float [h, w].
      shape: height and width of the image in px.

    Returns:
      float32 [SIDE, SIDE], its largest value 1 unless all are 0. The map lies on the panel as the
      image does: proportions kept, 0 where the panel is left black.
    """
    inside = _inner_area(shape, SIDE)
    spread = np.zeros((SIDE, SIDE), np.float32)
    height, width = spread[inside].shape
    enlarged = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    # Cubic interpolation can fall below 0.
    spread[inside] = np.maximum(enlarged, 0)
    largest = spread.max()
    return spread / largest if largest > 0 else spread


def fit_square(image: np.ndarray, side: int) -> np.ndarray:
    """Scales an image uint8 [H, W, C] to a square, proportions kept; what is left over is black."""
    inside = _inner_area(image.shape[:2], side)
    square = np.zeros((side, side, image.shape[2]), np.uint8)
    height, width = square[inside].shape[:2]
    # Averaging over areas keeps small bright spots that interpolation would skip.
    shrinks = side < max(image.shape[:2])
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    square[inside] = cv2.resize(image, (width, height), interpolation=interpolation)
    return square


def data_uri(picture: np.ndarray) -> Markup:
    """Encodes uint8 [H, W, 3] RGB as a WebP in a data URI; safe to print, since it is base64."""
    quality = [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY]
    # OpenCV takes blue first.
    is_encoded, encoded = cv2.imencode(".webp", picture[..., ::-1], quality)
    if not is_encoded:
        raise RuntimeError("OpenCV cannot write WebP")
    text = base64.b64encode(encoded.tobytes()).decode()
    return Markup(f"data:image/webp;base64,{text}")


def _gray(image: np.ndarray, channel: int) -> np.ndarray:
    return np.repeat(image[..., channel, None], 3, axis=2)


def _inner_area(shape: tuple[int, int], side: int) -> tuple[slice, slice]:
    """Where an image of `shape` (height, width) lies in the middle of a square panel."""
    scale = side / max(shape)
    slices = []
    for length in shape:
        # A very narrow image keeps one line of pixels.
        inner = max(1, round(length * scale))
        start = (side - inner) // 2
        slices.append(slice(start, start + inner))
    return tuple(slices)
