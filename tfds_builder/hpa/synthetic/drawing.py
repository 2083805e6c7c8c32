"""Primitives of synthetic drawings: noise, and OpenCV's lines and discs at fractions of a pixel."""

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's coordinates
SUBPIXELS = 1 << SHIFT


def smooth_noise(rng: np.random.Generator, size: int, cell: float) -> np.ndarray:
    """Smooth noise of about unit variance that changes over `cell` pixels, float32 [size, size]."""
    n = max(4, int(np.ceil(size / cell)) + 3)
    coarse = rng.standard_normal((n, n), dtype=np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def band_noise(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Blobs of about `sigma` pixels: white noise between two blurs, float32 [size, size].

    Its variance is 1.
    """
    white = rng.standard_normal((size, size), dtype=np.float32)
    band = cv2.GaussianBlur(white, (0, 0), sigma) - cv2.GaussianBlur(white, (0, 0), 2 * sigma)
    return band / max(float(band.std()), 1e-6)


def canvas(size: int) -> np.ndarray:
    """An empty drawing, uint8 [size, size]: OpenCV anti-aliases lines on eight bits only."""
    return np.zeros((size, size), np.uint8)


def unit(image: np.ndarray) -> np.ndarray:
    """A drawing as float32, 0 to 1."""
    return image.astype(np.float32) / 255


def to_fixed(points: np.ndarray) -> np.ndarray:
    """Pixel coordinates as the integers of OpenCV's `shift`, int32."""
    return np.round(np.asarray(points) * SUBPIXELS).astype(np.int32)


def draw_dots(
    image: np.ndarray, points: np.ndarray, radii: np.ndarray | float, level: int = 255
) -> None:
    """Draws filled discs into `image`.

    Args:
      image: uint8 [H, W].
      points: float [n, 2], (x, y) in pixels.
      radii: in pixels, of each or of all.
      level: gray level.
    """
    radii = np.broadcast_to(np.asarray(radii, float), len(points))
    fixed_radii = np.round(radii * SUBPIXELS).astype(int).tolist()
    for centre, radius in zip(to_fixed(points).tolist(), fixed_radii, strict=True):
        cv2.circle(image, tuple(centre), radius, level, -1, cv2.LINE_AA, SHIFT)


def draw_line(image: np.ndarray, start: np.ndarray, end: np.ndarray, thickness: int) -> None:
    """Draws a straight line into `image`.

    Args:
      image: uint8 [H, W].
      start: float [2], (x, y) in pixels.
      end: float [2].
      thickness: in pixels.
    """
    points = to_fixed(start).tolist(), to_fixed(end).tolist()
    cv2.line(image, *points, 255, thickness, cv2.LINE_AA, SHIFT)


def draw_paths(
    image: np.ndarray,
    paths: np.ndarray | list[np.ndarray],
    thickness: int,
    origin: tuple[int, int] = (0, 0),
) -> None:
    """Draws open polygons into `image`.

    Args:
      image: uint8 [H, W].
      paths: float [n, k, 2], (x, y) in pixels.
      thickness: in pixels.
      origin: (x, y) of the image's first pixel.
    """
    offset = np.array(origin, np.int32) * SUBPIXELS
    fixed = [to_fixed(path) - offset for path in paths]
    cv2.polylines(image, fixed, False, 255, thickness, cv2.LINE_AA, SHIFT)


def directions(angles: np.ndarray) -> np.ndarray:
    """Unit vectors of angles in radians, float [..., 2]."""
    return np.stack([np.cos(angles), np.sin(angles)], -1)
