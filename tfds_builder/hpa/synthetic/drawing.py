"""What the drawings of synthetic fields are made of: noise, and OpenCV's lines and discs at parts of a pixel."""

import cv2
import numpy as np


def smooth_noise(rng: np.random.Generator, size: int, cell: float) -> np.ndarray:
    """Smooth noise of about unit variance that changes over `cell` pixels, float32 [size, size]."""
    n = max(4, int(np.ceil(size / cell)) + 3)
    return cv2.resize(
        rng.standard_normal((n, n), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )


def band_noise(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Blobs of about `sigma` pixels: white noise between two blurs, unit variance, float32 [size, size]."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    band = cv2.GaussianBlur(white, (0, 0), sigma) - cv2.GaussianBlur(white, (0, 0), 2 * sigma)
    return band / max(float(band.std()), 1e-6)


def canvas(size: int) -> np.ndarray:
    """An empty drawing of the field. Eight bits, since only those get OpenCV's anti-aliased lines."""
    return np.zeros((size, size), np.uint8)


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixel coordinates as the 1/16-pixel integers of OpenCV's `shift=4`."""
    return np.round(np.asarray(points) * 16).astype(np.int32)


def dots(
    image: np.ndarray, points: np.ndarray, radii: np.ndarray | float, level: int = 255
) -> None:
    """Filled discs, drawn into `image`."""
    radii = np.broadcast_to(np.asarray(radii, float), len(points))
    for (x, y), r in zip(
        fixed(points).tolist(), np.round(radii * 16).astype(int).tolist(), strict=True
    ):
        cv2.circle(image, (x, y), r, level, -1, cv2.LINE_AA, 4)


def unit(image: np.ndarray) -> np.ndarray:
    """A drawing as float32, 0 to 1."""
    return image.astype(np.float32) / 255
