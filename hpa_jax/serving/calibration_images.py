"""Real images by which the ranges of 8-bit weights and activations are calibrated."""

import numpy as np

from hpa_jax.config import Config
from hpa_jax.data.pipeline import open_split
from hpa_jax.errors import InputError

MOST_IMAGES = 64


def calibration_images(config: Config) -> np.ndarray:
    """Images of the run's training split, evenly spread over it.

    Args:
      config: of the run.

    Returns:
      uint8 `[N, H, W, 4]`, N at most MOST_IMAGES.

    Raises:
      InputError: the dataset is not here, or has no such image.
    """
    split = config.data.train_split
    try:
        dataset = open_split(config.data, split)
    except InputError as error:
        raise InputError(
            f"--config.export.onnx=int8 needs images of the run's dataset: {error}"
        ) from error
    if not len(dataset):
        raise InputError(
            f"--config.export.onnx=int8 needs images, and the split {split} of "
            f"{config.data.name} has none; use fp16"
        )
    count = min(MOST_IMAGES, len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    return np.stack([dataset[int(position)]["image"] for position in chosen])
