"""Reference channels of a synthetic image: microtubules, nucleus, endoplasmic reticulum."""

import cv2
import numpy as np

from tfds_builder.hpa.synthetic.cells import NO_NUCLEUS, Cells
from tfds_builder.hpa.synthetic.drawing import band_noise, canvas, draw_line, unit
from tfds_builder.hpa.synthetic.layout import MITOTIC
from tfds_builder.hpa.synthetic.variation import PLAIN, Variation

_FADING_REACH = 0.12  # diameters from a cell's edge


def draw_references(
    rng: np.random.Generator, cells: Cells, variation: Variation = PLAIN
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws red (microtubules), blue (nucleus) and yellow (endoplasmic reticulum).

    Args:
      rng: random stream, the same whatever the labels.
      cells: of the image.
      variation: of the field. What it leaves as it is changes no draw.

    Returns:
      uint8 [H, W] each.
    """
    # Cells differ in brightness; the last level is of what is outside.
    levels = np.append(rng.uniform(variation.dimmest, 1.0, len(cells.kind)), 0)
    level = levels.astype(np.float32)[cells.owner]
    red = _microtubules(cells, level)
    blue = _nuclei(rng, cells, level)
    yellow = _reticulum(rng, cells, level)
    if variation.fading or variation.red_in_nucleus < 1:
        red = red * (1 - (1 - variation.red_in_nucleus) * cells.nuclei)
        fading = 1 - variation.fading * np.exp(-cells.edge / _FADING_REACH)
        red = red * fading
        yellow = yellow * fading
    finished = []
    for image in (red, blue, yellow):
        finished.append(_finish(rng, image.astype(np.float32), cells.diameter, variation))
    return tuple(finished)


def _microtubules(cells: Cells, level: np.ndarray) -> np.ndarray:
    rim = np.exp(-np.maximum(cells.nuclear, 0) / 0.22) * (cells.nuclear < NO_NUCLEUS)
    red = level * (0.75 * cells.microtubules * (0.5 + 0.5 * rim) + 0.22 * rim + 0.06)
    return np.maximum(np.maximum(red, 0.95 * cells.spindle), 0.8 * cells.bridge)


def _nuclei(rng: np.random.Generator, cells: Cells, level: np.ndarray) -> np.ndarray:
    d = cells.diameter
    texture = 1 + 0.12 * band_noise(rng, cells.size, max(0.8, 0.025 * d))
    blue = cells.nuclei * texture * (1 - 0.65 * cells.holes) * level
    plates = canvas(cells.size)
    for i in np.flatnonzero(cells.kind == MITOTIC):
        angle = cells.angle[i]
        across = np.array([-np.sin(angle), np.cos(angle)]) * 0.19 * d
        thickness = max(2, round(0.11 * d))
        draw_line(plates, cells.centre[i] - across, cells.centre[i] + across, thickness)
    return np.maximum(blue, unit(plates) * (0.8 + 0.2 * texture))


def _reticulum(rng: np.random.Generator, cells: Cells, level: np.ndarray) -> np.ndarray:
    lace = np.abs(band_noise(rng, cells.size, max(0.9, 0.02 * cells.diameter)))
    near_nucleus = np.exp(-np.abs(cells.nuclear) / 0.20)
    spread = np.where(cells.nuclear < NO_NUCLEUS, near_nucleus, 0.45)
    return level * spread * (1 - 0.75 * cells.nuclei) * np.clip(1.25 - 0.6 * lace, 0.1, 1.2)


def _finish(
    rng: np.random.Generator, image: np.ndarray, d: float, variation: Variation
) -> np.ndarray:
    """Optics and camera: blur, gain, background, noise; uint8."""
    gain = rng.uniform(*variation.gain)
    if variation.gamma != 1:
        image = np.power(np.maximum(image, 0), np.float32(variation.gamma))
    blur = max(0.5, 0.011 * d) * variation.blur
    image = cv2.GaussianBlur(image, (0, 0), blur) * gain + rng.uniform(0.005, variation.background)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(variation.noise)
    image += noise * (0.012 + 0.05 * np.sqrt(np.maximum(image, 0)))
    return np.clip(image * 255, 0, 255).astype(np.uint8)
