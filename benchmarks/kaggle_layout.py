"""A folder in Kaggle's layout: `train/<Id>_<channel>.png`, four grayscale files an image."""

from pathlib import Path

import checkout  # noqa: F401
import cv2
import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS


def red_files(manual_dir: Path) -> list[Path]:
    """The file of the red channel of every image, sorted.

    Raises:
      InputError: there is none.
    """
    files = sorted((manual_dir / "train").glob("*_red.png"))
    if not files:
        raise InputError(
            f"{manual_dir}: no train/<Id>_red.png: give --manual_dir a folder in Kaggle's layout"
        )
    return files


def channel_files(red: Path) -> list[Path]:
    """The files of all channels of an image, in the order of CHANNELS, by that of the red one."""
    stem = red.name.removesuffix("red.png")
    return [red.with_name(f"{stem}{channel}.png") for channel in CHANNELS]


def read_image(red: Path) -> np.ndarray:
    """An image, uint8 `[H, W, 4]`, as the challenge's solutions read it: OpenCV and one stack."""
    planes = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in channel_files(red)]
    return np.stack(planes, axis=-1)


def write_image(folder: Path, name: str, image: np.ndarray) -> None:
    """Writes an image, uint8 `[H, W, 4]`, as `folder/train/<name>_<channel>.png`."""
    for number, channel in enumerate(CHANNELS):
        cv2.imwrite(str(folder / "train" / f"{name}_{channel}.png"), image[..., number])
