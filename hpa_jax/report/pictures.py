"""A field as a small picture: false colours above, the protein alone below, both in one data URI.

False colours as the Atlas shows them: microtubules red, protein green, nucleus blue, endoplasmic reticulum yellow, at
half strength here, since in full it would hide the protein. Who cannot tell red from green looks at the gray panel: the
protein is what the labels are about.
"""

import base64
from typing import NamedTuple

import cv2
import numpy as np

from hpa_jax.labels import CHANNELS

SIDE = 96
"""Pixels a side of one panel."""
HEIGHT = 2 * SIDE + 2
"""Of the two panels with a gray line between them."""
MAX_GAIN = 6.0
"""An empty channel must stay black, not become a picture of its noise."""
WHITE_QUANTILE = 0.998
DARK = 10
"""A channel of which no pixel is brighter (of 255) counts as empty."""
SATURATED_SHARE = 0.01
"""A channel of which more pixels are at 255 counts as saturated: differences between its bright spots are lost."""

_WEBP_QUALITY = 70


class Look(NamedTuple):
    """What a page shows of one field.

    Attributes:
      uri: of a WebP, SIDE pixels wide and HEIGHT high.
      empty: names of the channels without a signal.
      saturated: names of the channels with more than SATURATED_SHARE of their pixels at 255.
    """

    uri: str
    empty: tuple[str, ...]
    saturated: tuple[str, ...]


def look(image: np.ndarray) -> Look:
    """Pictures and checks a field, uint8 [H, W, 4]."""
    flat = image.reshape(-1, len(CHANNELS))
    empty = flat.max(axis=0) <= DARK
    saturated = (flat == 255).mean(axis=0) > SATURATED_SHARE
    return Look(
        data_uri(tile(image)),
        *(tuple(np.array(CHANNELS)[found].tolist()) for found in (empty, saturated)),
    )


def tile(image: np.ndarray) -> np.ndarray:
    """uint8 [HEIGHT, SIDE, 3] RGB of a field uint8 [H, W, 4]: false colours over the gray protein channel."""
    small = stretched(fitted(image, SIDE))
    gray = np.repeat(small[..., CHANNELS.index("green"), None], 3, axis=2)
    line = np.full((HEIGHT - 2 * SIDE, SIDE, 3), 128, np.uint8)
    return np.concatenate([false_colour(small), line, gray])


def stretched(image: np.ndarray) -> np.ndarray:
    """Each channel of uint8 [H, W, C] multiplied so that its WHITE_QUANTILE becomes 255, by 1 to MAX_GAIN."""
    white = np.quantile(image.reshape(-1, image.shape[-1]), WHITE_QUANTILE, axis=0)
    gain = np.clip(255 / np.maximum(white, 1), 1, MAX_GAIN)
    return np.clip(np.rint(image * gain), 0, 255).astype(np.uint8)


def false_colour(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4] (red, green, blue, yellow) to uint8 [H, W, 3] RGB: half of yellow goes to red and to green."""
    mixed = image[..., :3].astype(np.uint16)
    mixed[..., :2] += image[..., 3:] // 2
    return np.minimum(mixed, 255).astype(np.uint8)


def data_uri(picture: np.ndarray) -> str:
    """uint8 [H, W, 3] RGB as a WebP in a data URI."""
    done, encoded = cv2.imencode(
        ".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY]
    )
    assert done
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """Scaled to the square with its proportions kept; what is left over is black."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(
        image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    square = np.zeros((side, side, image.shape[2]), np.uint8)
    top, left = (side - inner[1]) // 2, (side - inner[0]) // 2
    square[top : top + inner[1], left : left + inner[0]] = small
    return square
