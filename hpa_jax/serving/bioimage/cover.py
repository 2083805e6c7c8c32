"""The picture of a package: two cells in false colours, drawn, of nobody's image.

Microtubules red, a protein green, nuclei blue, the endoplasmic reticulum yellow, as the Atlas shows
them.
"""

import cv2
import numpy as np

WIDTH = 512
HEIGHT = 256
"""Pixels. Twice as wide as high, as the collection wants it."""

_NUCLEI = ((150, 132), (368, 118))
_NUCLEUS = (46, 34)
_CELL = (124, 92)
_FILAMENTS = 90
_SPOTS = 140
# Red, green and blue of each of the four channels.
_COLOURS = {
    "red": (1.0, 0.1, 0.05),
    "green": (0.1, 1.0, 0.2),
    "blue": (0.15, 0.3, 1.0),
    "yellow": (0.5, 0.45, 0.05),
}


def draw_cover() -> bytes:
    """A PNG of WIDTH x HEIGHT px; the same one always."""
    rng = np.random.default_rng(7)
    channels = {name: np.zeros((HEIGHT, WIDTH), np.float32) for name in _COLOURS}
    for center in _NUCLEI:
        _draw_cell(channels, center, rng)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for name, colour in _COLOURS.items():
        picture += channels[name][..., None] * np.float32(colour)
    pixels = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    # OpenCV has blue first.
    written, png = cv2.imencode(".png", pixels[..., ::-1])
    if not written:
        raise RuntimeError("OpenCV writes no PNG")
    return png.tobytes()


def _draw_cell(
    channels: dict[str, np.ndarray], center: tuple[int, int], rng: np.random.Generator
) -> None:
    """Adds a cell around the center (x, y) of its nucleus to float32 [HEIGHT, WIDTH] channels."""
    body = _ellipse(center, _CELL, blur=14)
    nucleus = _ellipse(center, _NUCLEUS, blur=3)
    channels["yellow"] += 0.7 * body * _ellipse(center, _NUCLEUS, blur=40) * (1 - nucleus)
    channels["blue"] += 0.8 * nucleus

    filaments = np.zeros((HEIGHT, WIDTH), np.float32)
    for angle in rng.uniform(0, 2 * np.pi, _FILAMENTS):
        bend = angle + rng.normal(0, 0.5)
        points = [
            _on_ellipse(center, _NUCLEUS, angle, 1.05),
            _on_ellipse(center, _CELL, (angle + bend) / 2, 0.7),
            _on_ellipse(center, _CELL, bend, 0.97),
        ]
        line = np.int32([points])
        cv2.polylines(filaments, line, False, 1.0, thickness=1, lineType=cv2.LINE_AA)
    channels["red"] += cv2.GaussianBlur(filaments, (0, 0), 0.8) * body * (1 - nucleus)

    spots = np.zeros((HEIGHT, WIDTH), np.float32)
    for angle, distance in zip(
        rng.uniform(0, 2 * np.pi, _SPOTS), rng.uniform(0.35, 0.9, _SPOTS), strict=True
    ):
        place = _on_ellipse(center, _CELL, angle, distance)
        cv2.circle(spots, place, 2, 1.0, thickness=-1, lineType=cv2.LINE_AA)
    channels["green"] += 0.9 * cv2.GaussianBlur(spots, (0, 0), 1.0) * (1 - nucleus)


def _ellipse(center: tuple[int, int], axes: tuple[int, int], blur: float) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.ellipse(mask, center, axes, 0, 0, 360, 1.0, thickness=-1, lineType=cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (0, 0), blur)


def _on_ellipse(
    center: tuple[int, int], axes: tuple[int, int], angle: float, fraction: float
) -> tuple[int, int]:
    x = center[0] + fraction * axes[0] * np.cos(angle)
    y = center[1] + fraction * axes[1] * np.sin(angle)
    return round(x), round(y)
