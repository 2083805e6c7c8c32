"""The four channels of an image as a picture in colours.

False colours as the Atlas shows them: microtubules red, protein green, nucleus blue, endoplasmic
reticulum yellow, at half strength here, since in full it would hide the protein.
"""

import numpy as np

MAX_GAIN = 6.0
"""An empty channel must stay black, not become a picture of its noise."""
WHITE_QUANTILE = 0.998


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """Brightens each channel of uint8 [H, W, C].

    The factor, 1 to MAX_GAIN, makes its WHITE_QUANTILE 255.
    """
    white = np.quantile(image.reshape(-1, image.shape[-1]), WHITE_QUANTILE, axis=0)
    gain = np.clip(255 / np.maximum(white, 1), 1, MAX_GAIN)
    return np.clip(np.rint(image * gain), 0, 255).astype(np.uint8)


def false_color(image: np.ndarray) -> np.ndarray:
    """Mixes uint8 [H, W, 4] (red, green, blue, yellow) to RGB [H, W, 3].

    Half of yellow is added to red and to green.
    """
    # 16 bits, since the sum of two channels can exceed 255.
    mixed = image[..., :3].astype(np.uint16)
    mixed[..., :2] += image[..., 3:] // 2
    return np.minimum(mixed, 255).astype(np.uint8)
