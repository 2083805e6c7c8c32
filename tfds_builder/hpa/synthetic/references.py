"""The three reference channels of a synthetic field: microtubules, nucleus, endoplasmic reticulum."""

import cv2
import numpy as np

from tfds_builder.hpa.synthetic.cells import NO_NUCLEUS, Cells
from tfds_builder.hpa.synthetic.drawing import band_noise, canvas, fixed, unit
from tfds_builder.hpa.synthetic.layout import MITOTIC


def _finish(rng: np.random.Generator, image: np.ndarray, gain: float, blur: float) -> np.ndarray:
    """Optics and camera: blur, gain, background, noise; uint8."""
    image = cv2.GaussianBlur(image, (0, 0), blur) * gain + rng.uniform(0.005, 0.03)
    image += rng.standard_normal(image.shape, dtype=np.float32) * (
        0.012 + 0.05 * np.sqrt(np.maximum(image, 0))
    )
    return np.clip(image * 255, 0, 255).astype(np.uint8)


def draw_references(
    rng: np.random.Generator, cells: Cells
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Red (microtubules), blue (nucleus) and yellow (endoplasmic reticulum) of the field, each uint8 [H, W]."""
    d, size = cells.diameter, cells.size
    blur = max(0.5, 0.011 * d)
    n = len(cells.kind)
    level = np.append(rng.uniform(0.75, 1.0, n), 0).astype(np.float32)[
        cells.owner
    ]  # cells differ in brightness
    rim = np.exp(-np.maximum(cells.nuclear, 0) / 0.22) * (cells.nuclear < NO_NUCLEUS)
    red = level * (0.75 * cells.microtubules * (0.5 + 0.5 * rim) + 0.22 * rim + 0.06)
    red = np.maximum(np.maximum(red, 0.95 * cells.spindle), 0.8 * cells.bridge)

    texture = 1 + 0.12 * band_noise(rng, size, max(0.8, 0.025 * d))
    blue = cells.nuclei * texture * (1 - 0.65 * cells.holes) * level
    plates = canvas(size)
    for i in np.flatnonzero(cells.kind == MITOTIC):
        across = np.array([-np.sin(cells.angle[i]), np.cos(cells.angle[i])]) * 0.19 * d
        ends = fixed(np.stack([cells.centre[i] - across, cells.centre[i] + across]))
        cv2.line(
            plates, ends[0].tolist(), ends[1].tolist(), 255, max(2, round(0.11 * d)), cv2.LINE_AA, 4
        )
    blue = np.maximum(blue, unit(plates) * (0.8 + 0.2 * texture))

    lace = np.abs(band_noise(rng, size, max(0.9, 0.02 * d)))
    spread = np.where(cells.nuclear < NO_NUCLEUS, np.exp(-np.abs(cells.nuclear) / 0.20), 0.45)
    yellow = level * spread * (1 - 0.75 * cells.nuclei) * np.clip(1.25 - 0.6 * lace, 0.1, 1.2)
    return tuple(
        _finish(rng, image.astype(np.float32), rng.uniform(0.6, 1.0), blur)
        for image in (red, blue, yellow)
    )
