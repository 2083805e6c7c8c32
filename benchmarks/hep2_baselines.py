"""How far a cell's intensities go: logistic regression on a histogram, and with 16 x 16 pixels."""

import warnings
from collections.abc import Callable

import checkout  # noqa: F401
import cv2
import numpy as np
from hep2_data import Cells
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hpa_jax.probe.histogram import intensity_histograms

_SIDE = 16
_ITERATIONS = 300


def histogram(images: np.ndarray) -> np.ndarray:
    """float32 `[N, 16]` of uint8 `[N, H, W]`."""
    return intensity_histograms(images[..., None])


def histogram_and_pixels(images: np.ndarray) -> np.ndarray:
    """The histogram and the cell at 16 x 16 px: float32 `[N, 272]`."""
    pixels = []
    for image in images:
        small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        pixels.append(small.ravel().astype(np.float32) / 255)
    return np.concatenate([histogram(images), np.stack(pixels)], axis=1)


BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "16-bin histogram, logistic regression": histogram,
    "histogram and 16 x 16 pixels, logistic regression": histogram_and_pixels,
}


def fit_and_score(
    features_of: Callable[[np.ndarray], np.ndarray], train: Cells, test: Cells
) -> np.ndarray:
    """Probabilities of the test cells, float64 `[N, L]`; 0 for a pattern that no training cell has.

    Args:
      features_of: images to features, which are standardized.
      train: to fit on.
      test: to score.
    """
    features = features_of(train.images)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(features), train.targets.argmax(axis=1))
    scores = np.zeros(test.targets.shape)
    scores[:, model.classes_] = model.predict_proba(scaler.transform(features_of(test.images)))
    return scores
