"""What same_place.py shows: fields, distractors, and other pictures of the same places."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import checkout  # noqa: F401
import cv2
import numpy as np
from kaggle_layout import read_image, red_files
from tqdm import tqdm

from hpa_jax.images.resize import fit_square
from tfds_builder.hpa.synthetic.render import draw_labels, render

CROP = 0.6
"""Side of a crop, as a fraction of the field's."""

BLUR = 1.5
"""Standard deviation of the blur, px of a field of 512 px."""

INTENSITY = 0.7
"""By which every pixel is multiplied."""

_DRAWING_SEED = 77


def read_fields(sample_dir: Path) -> list[np.ndarray]:
    """The real fields, uint8 `[512, 512, 4]`.

    Raises:
      InputError: there are none.
    """
    return [read_image(path) for path in red_files(sample_dir / "kaggle_512")]


def other_picture(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same place seen again: cropped, turned or mirrored, blurred, darker.

    Args:
      field: uint8 `[H, H, 4]`.
      rng: draws where the crop lies, and which of the seven symmetries it is that move something.

    Returns:
      uint8 `[0.6 H, 0.6 H, 4]`.
    """
    height = len(field)
    side = round(CROP * height)
    top, left = rng.integers(0, height - side + 1, 2)
    crop = field[top : top + side, left : left + side]
    symmetry = int(rng.integers(1, 8))
    crop = np.rot90(crop, symmetry % 4)
    if symmetry >= 4:
        crop = crop[:, ::-1]
    crop = np.ascontiguousarray(crop).astype(np.float32)
    crop = cv2.GaussianBlur(crop, (0, 0), BLUR * height / 512)
    return np.rint(INTENSITY * crop).clip(0, 255).astype(np.uint8)


def draw_distractors(count: int, size: int) -> list[np.ndarray]:
    """Synthetic fields, uint8 `[size, size, 4]`, of labels as frequent as in the challenge."""
    labels = draw_labels(_DRAWING_SEED, count, "real")

    def draw(index: int) -> np.ndarray:
        return render(_DRAWING_SEED, index, labels[index], size)

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        drawn = threads.map(draw, range(count))
        return list(tqdm(drawn, total=count, unit="image", desc="draw", disable=None))


def batches(
    images: Sequence[np.ndarray], size: int, batch: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Images as a net takes them, uint8 `[batch, size, size, 4]`, and how many of them count."""
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        filled = np.zeros((batch, size, size, 4), np.uint8)
        for place, image in enumerate(some):
            filled[place] = fit_square(image, size)
        yield filled, len(some)
