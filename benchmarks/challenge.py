"""How frequent each label is in the challenge's train.csv."""

import checkout  # noqa: F401
import numpy as np

from hpa_jax.labels import TRAIN_COUNTS

TRAIN_IMAGES = 31_072


def label_frequencies(num_labels: int = len(TRAIN_COUNTS)) -> np.ndarray:
    """The fraction of images with each label, float64 `[num_labels]`.

    More than 28 labels repeat the frequencies from the first one on.
    """
    return np.resize(TRAIN_COUNTS, num_labels) / TRAIN_IMAGES
