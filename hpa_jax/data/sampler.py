"""How often each image is shown in an epoch, and the order in which images are shown.

Each image has a factor, the number of times that an epoch shows it: 1 for all of them, or another
that follows from its labels (`sampling_factors`; a new `config.data.sampling` is added there),
times the weight of its source. `Order` draws the order of every epoch from the factors.

An epoch is a function of (seed, number of the epoch) alone: `epochs.py` says how, and why.
"""

import numpy as np

from hpa_jax.data.epochs import EpochOrder, permutation
from hpa_jax.errors import InputError

SAMPLINGS = ("uniform", "hpa_densenet", "repeat_factor", "class_balanced")
"""How images with rare labels are sampled: as often as all; repeated as in the baseline; by LVIS's
rule; each label as often as any other."""

_MIN_FACTOR = 1e-6
_MAX_FACTOR = 1e6
_MAX_EPOCH = 2**31 - 1  # image numbers and their counts are int32

# Factors are kept as integer multiples of 2^-32, so that their sums are exact in any order.
_FRACTION_BITS = 32
_ONE = 1 << _FRACTION_BITS


def sampling_factors(
    targets: np.ndarray,
    sampling: str,
    *,
    rare_below: int,
    rare_copies: float,
    repeat_threshold: float,
) -> np.ndarray:
    """How often each image is shown in an epoch.

    Args:
      targets: uint8 [N, L], 0 or 1.
      sampling: one of `SAMPLINGS`.
      rare_below: for `hpa_densenet`: a label of fewer images than this is rare.
      rare_copies: for `hpa_densenet`: the factor of images with a rare label.
      repeat_threshold: for `repeat_factor`: fraction of the images below which a label is rare.

    Returns:
      float64 [N], above 0; 1 or more unless it is `class_balanced`.

    Raises:
      InputError: no such sampling.
    """
    if sampling == "uniform":
        return np.ones(len(targets))
    if sampling == "hpa_densenet":
        return rare_image_factors(targets, rare_below, rare_copies)
    if sampling == "repeat_factor":
        return repeat_factors(targets, repeat_threshold)
    if sampling == "class_balanced":
        return class_balanced_factors(targets)
    raise InputError(
        f"config.data.sampling={sampling!r} is unknown; allowed: {', '.join(SAMPLINGS)}"
    )


def repeat_factors(targets: np.ndarray, threshold: float) -> np.ndarray:
    """Repeat factors of LVIS.

    A label with the fraction f of the images has the factor `max(1, sqrt(threshold / f))`; an image
    has the largest factor of its labels.

    Args:
      targets: uint8 [N, L], 0 or 1.
      threshold: fraction of the images below which a label is rare; 0: no label is.

    Returns:
      float64 [N]; 1 for an image without labels.

    References:
      Gupta, Dollar and Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation",
      2019, section 3.3 (https://arxiv.org/abs/1908.03195).
    """
    factors = np.ones(len(targets))
    fractions = _positives(targets) / max(1, len(targets))
    for label in np.flatnonzero((fractions > 0) & (fractions < threshold)):
        factor = np.sqrt(threshold / fractions[label])
        np.maximum(factors, factor, out=factors, where=targets[:, label] > 0)
    return factors


def class_balanced_factors(targets: np.ndarray) -> np.ndarray:
    """Factors of drawing a label first, each as likely, and then one of its images.

    The expected number of draws of an image among N of them: with L labels that some image has, and
    n_l images with label l, `N / L * sum_l t_l / n_l`. Images without labels are drawn as if that
    were one label more. An epoch has as many images as the set. FINO's split `BAL_TRAIN` is drawn
    so, without images that have no label.

    An image that has several labels is drawn for each of them, so that a common label which goes
    along with rare ones is still shown more often than those.

    Args:
      targets: uint8 [N, L], 0 or 1.

    Returns:
      float64 [N], of sum N.

    References:
      Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition,
      arXiv:1910.09217, eq. 1 with q = 0; `hpa_whole_hr.py` of FINO (a fork of DINOv3).
    """
    images = len(targets)
    if not images:
        return np.zeros(0)
    unlabeled = ~(targets > 0).any(axis=1)
    classes = np.column_stack([targets > 0, unlabeled])
    positives = _positives(classes)
    present = positives > 0
    shares = classes[:, present] / positives[present]
    return images / np.count_nonzero(present) * shares.sum(axis=1)


def rare_labels(targets: np.ndarray, below: int) -> np.ndarray:
    """Which labels at least one image has, and fewer than `below`: bool [L]."""
    positives = _positives(targets)
    return (positives > 0) & (positives < below)


def rare_images(targets: np.ndarray, below: int) -> np.ndarray:
    """Which images have a rare label (`rare_labels`): bool [N]."""
    return (targets[:, rare_labels(targets, below)] > 0).any(axis=1)


def rare_image_factors(targets: np.ndarray, below: int, copies: float) -> np.ndarray:
    """Factors of the baseline `hpa_densenet`: `copies` for images with a rare label, else 1.

    The study repeats such images, each copy augmented anew. It says neither which labels are rare
    nor how often their images are repeated.

    Returns:
      float64 [N].
    """
    return np.where(rare_images(targets, below), float(copies), 1.0)


def _positives(targets: np.ndarray) -> np.ndarray:
    """Number of images with each label, [L]."""
    return np.count_nonzero(targets, axis=0)


class Order(EpochOrder):
    """An endless sequence of image numbers by factors (see `EpochOrder`).

    An image with factor r is shown floor(r) or ceil(r) times in an epoch, at random places: r times
    on average over the epochs, up to the rounding of the sum of the factors to `epoch_length`. So
    an image with a factor of 1 or more is shown in every epoch. Which images are shown once more is
    drawn for all of them at once, as a systematic sample in a random order, so that the length of
    an epoch never varies.

    Attributes:
      num_images: images to draw from.
      epoch_length: sum of the factors, rounded, at least 1.
    """

    def __init__(self, factors: np.ndarray, seed: int):
        """Prepares an order.

        Args:
          factors: float64 [N], 1e-6 to 1e6.
          seed: 0 or more.

        Raises:
          InputError: no factors, a factor that is out of range or not a number, or an epoch of
            2^31 positions or more.
        """
        super().__init__()
        factors = np.asarray(factors, np.float64)
        _check_factors(factors)
        fixed_point = np.rint(factors * _ONE).astype(np.int64)
        fractions = fixed_point & (_ONE - 1)
        self._seed = seed
        self._whole_parts = (fixed_point >> _FRACTION_BITS).astype(np.int32)
        # The images whose factors are no integers, and what their factors have beyond those.
        self._fractional = np.flatnonzero(fractions).astype(np.int32)
        self._fractions = fractions[self._fractional].astype(np.uint32)
        self.num_images = len(factors)
        rounded_sum = (int(fixed_point.sum()) + _ONE // 2) >> _FRACTION_BITS
        self.epoch_length = max(1, rounded_sum)

    def _draw_epoch(self, number: int) -> np.ndarray:
        generator = np.random.Philox(np.random.SeedSequence(self._seed, spawn_key=(number,)))
        counts = self._whole_parts
        if len(self._fractional):
            counts = counts.copy()
            counts[self._fractional] += self._draw_fractions(generator)
        images = np.arange(self.num_images, dtype=np.int32)
        if (counts != 1).any():
            images = np.repeat(images, counts)
        images = images[permutation(len(images), generator)]
        images.flags.writeable = False
        return images

    def _draw_fractions(self, generator: np.random.Philox) -> np.ndarray:
        """Draws which images with a fractional factor are shown once more: bool, one for each.

        The fractions are laid end to end on a line, in random order. Points lie on it at a distance
        of 1, and an image is drawn where a point falls on its fraction.
        """
        wanted = self.epoch_length - int(self._whole_parts.sum())
        order = permutation(len(self._fractions), generator)
        ends = np.cumsum(self._fractions[order], dtype=np.int64)
        points, rest = divmod(int(ends[-1]), _ONE)
        # The first point decides whether `points` or one more lie on the line. It is drawn among
        # the places that give `wanted` of them.
        if wanted > points:
            low, high = 0, rest
        else:
            low, high = rest, _ONE
        first = low + (int(generator.random_raw()) * (high - low) >> 64)
        points_before_end = (ends - first + _ONE - 1) >> _FRACTION_BITS
        drawn = np.empty(len(order), bool)
        drawn[order] = np.diff(points_before_end, prepend=0) > 0
        return drawn


def _check_factors(factors: np.ndarray) -> None:
    if factors.ndim != 1 or not len(factors):
        raise InputError(
            f"no image to draw from: factors of shape {list(factors.shape)}, not [images]"
        )
    least = factors.min()
    most = factors.max()
    # Written so that a NaN is refused as well.
    if not (least >= _MIN_FACTOR and most <= _MAX_FACTOR):
        raise InputError(
            f"images are to be shown {least:g} to {most:g} times an epoch; allowed: 1e-6 to 1e6"
        )
    total = factors.sum()
    if total >= _MAX_EPOCH:
        raise InputError(
            f"an epoch of {total:.3g} images is too long: use smaller factors or weights"
        )
