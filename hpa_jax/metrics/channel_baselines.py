"""What a missing channel can be had for without a net: two baselines, fitted on whole images.

- the best raw channel: the one of the others, as it is, that is most like the target;
- ridge regression: a weighted sum of the other channels, blurred by Gaussians of 0 to 16 px, and of
  their square roots. What it gets, blur alone gets.

A net that does not beat the second has learnt nothing beyond blur, so both are printed wherever a
net's figures are.

Everything that a fit needs is a sum over images (`ChannelSums`): one pass gives the fits for every
target from every subset of the other channels, and sums of folds are added up.

Needs SciPy, so it is imported by name: `from hpa_jax.metrics import channel_baselines`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.ndimage import gaussian_filter

from hpa_jax.labels import CHANNELS

SIGMAS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations of the blurs, in px; 0: the channel as it is."""

FEATURES = 2 * len(SIGMAS)
"""Of each channel: every blur, and the square root of every blur."""

PENALTY = 1e-4
"""Of the ridge, in units of a standardised feature's variance: enough that near-equal features (two
blurs of one channel) have no large weights of opposite signs. From 1e-6 to 1e-2 the figures on real
images are the same to 0.002."""

_PIXELS_AT_ONCE = 4096


@dataclass(frozen=True)
class ChannelSums:
    """Sums over all pixels of some images.

    Attributes:
      pixels: their number.
      features: float64 [4 F], of every channel's features, channel by channel.
      products: float64 [4 F, 4 F], of pairs of features.
      pearson: float64 [4, 4], sums over images of the correlation of two raw channels; 0 where one
        of them is constant.
      images: their number.
    """

    pixels: int
    features: np.ndarray
    products: np.ndarray
    pearson: np.ndarray
    images: int

    def __add__(self, other: "ChannelSums") -> "ChannelSums":
        return ChannelSums(
            pixels=self.pixels + other.pixels,
            features=self.features + other.features,
            products=self.products + other.products,
            pearson=self.pearson + other.pearson,
            images=self.images + other.images,
        )


@dataclass(frozen=True)
class Ridge:
    """A target channel as a weighted sum of other channels' features.

    Attributes:
      target: its name.
      sources: names of the others.
      weights: float64 [len(sources) F].
      bias: the constant.
    """

    target: str
    sources: tuple[str, ...]
    weights: np.ndarray
    bias: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The target of an image uint8 [H, W, 4]: float32 [H, W], 0 to 255."""
        total = np.full(image.shape[:2], self.bias, np.float32)
        of_sources = self.weights.reshape(len(self.sources), FEATURES)
        for source, weights in zip(self.sources, of_sources, strict=True):
            features = blurred(image[..., CHANNELS.index(source)])
            total += features @ weights.astype(np.float32)
        return np.clip(255 * total, 0, 255)


@dataclass(frozen=True)
class RawChannel:
    """Another channel in the place of the target.

    Attributes:
      target: its name.
      source: name of the other.
    """

    target: str
    source: str

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """That channel of an image uint8 [H, W, 4]: float32 [H, W]."""
        return image[..., CHANNELS.index(self.source)].astype(np.float32)


def blurred(channel: np.ndarray) -> np.ndarray:
    """The features of one channel.

    Args:
      channel: uint8 [H, W].

    Returns:
      float32 [H, W, F]: the blurs of SIGMAS as fractions of white, then their square roots.
    """
    plane = channel.astype(np.float32) / 255
    blurs = []
    for sigma in SIGMAS:
        blurs.append(gaussian_filter(plane, sigma) if sigma else plane)
    roots = []
    for blur in blurs:
        # A filter of float32 may end a hair below 0.
        roots.append(np.sqrt(np.maximum(blur, 0)))
    return np.stack(blurs + roots, axis=-1)


def sums_of(image: np.ndarray) -> ChannelSums:
    """What the fits need of one image.

    Args:
      image: uint8 [H, W, 4].
    """
    features = []
    for channel in range(len(CHANNELS)):
        features.append(blurred(image[..., channel]))
    table = np.concatenate(features, axis=-1).reshape(-1, len(CHANNELS) * FEATURES)
    products = np.zeros((table.shape[1],) * 2)
    # Products of float32 are fast, and exact enough for some pixels; float64 adds those sums up.
    for start in range(0, len(table), _PIXELS_AT_ONCE):
        rows = table[start : start + _PIXELS_AT_ONCE]
        products += rows.T @ rows
    raw = table[:, ::FEATURES].astype(np.float64)
    return ChannelSums(
        pixels=len(table),
        features=table.sum(0, dtype=np.float64),
        products=products,
        pearson=_correlations(raw),
        images=1,
    )


def total(sums: Iterable[ChannelSums]) -> ChannelSums:
    """The sums over the images of all of them, one at least."""
    first, *others = sums
    for other in others:
        first = first + other
    return first


def fit_ridge(
    sums: ChannelSums, target: str, sources: Sequence[str], penalty: float = PENALTY
) -> Ridge:
    """The weights that minimise `mean (y - w x - b)^2 + penalty |w|^2`, `x` standardised.

    Args:
      sums: of the images to fit on.
      target: name of the channel to predict.
      sources: names of those to predict it from, one at least.
      penalty: above 0.
    """
    columns = np.concatenate([_columns(source) for source in sources])
    # The raw channel is the first of its features.
    y = _columns(target)[0]
    mean = sums.features / sums.pixels
    covariance = sums.products / sums.pixels - np.outer(mean, mean)
    std = np.sqrt(np.maximum(np.diag(covariance), 0))[columns]
    # A channel that is black in all images is no feature.
    scale = np.where(std > 1e-6, 1 / np.maximum(std, 1e-6), 0)
    quadratic = covariance[np.ix_(columns, columns)] * np.outer(scale, scale)
    quadratic[np.diag_indices_from(quadratic)] += penalty
    linear = covariance[columns, y] * scale
    weights = linalg.solve(quadratic, linear, assume_a="pos") * scale
    bias = mean[y] - weights @ mean[columns]
    return Ridge(target, tuple(sources), weights, float(bias))


def best_raw_channel(sums: ChannelSums, target: str, sources: Sequence[str]) -> RawChannel:
    """The source with the highest mean correlation with the target over the images.

    Arguments as of `fit_ridge`.
    """
    row = sums.pearson[CHANNELS.index(target)]
    best = max(sources, key=lambda source: row[CHANNELS.index(source)])
    return RawChannel(target, best)


def _columns(channel: str) -> np.ndarray:
    start = CHANNELS.index(channel) * FEATURES
    return np.arange(start, start + FEATURES)


def _correlations(columns: np.ndarray) -> np.ndarray:
    """Pearson's coefficients of the columns of float64 [N, C]; 0 where one is constant."""
    centred = columns - columns.mean(0)
    norm = np.sqrt((centred**2).sum(0))
    scaled = centred / np.where(norm > 0, norm, 1)
    return scaled.T @ scaled
