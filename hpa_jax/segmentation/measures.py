"""How well instance masks agree with others: average precision and the aggregated Jaccard index.

Instances are matched one to one by their intersection over union (IoU). With TP matches of at
least a threshold, FP instances of the prediction left over and FN of the truth, average precision
is TP / (TP + FP + FN), as StarDist and Cellpose report it.

References:
  Schmidt et al., Cell detection with star-convex polygons, MICCAI 2018 (average precision).
  Stringer et al., Cellpose, Nature Methods 18, 2021 (the same).
  Kumar et al., A dataset and a technique for generalized nuclear segmentation, IEEE TMI 36, 2017
    (aggregated Jaccard index).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment


class Overlaps(NamedTuple):
    """What two masks have in common; t instances of the truth, p of the prediction.

    Attributes:
      intersection: int64 [t, p], pixels that both have.
      truth: int64 [t], pixels of each instance of the truth.
      predicted: int64 [p], pixels of each instance of the prediction.
    """

    intersection: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """int64 [t, p], pixels that one of the two has."""
        return self.truth[:, None] + self.predicted[None] - self.intersection

    @property
    def iou(self) -> np.ndarray:
        """float64 [t, p], intersection over union, 0 to 1."""
        return self.intersection / self.union


class Matches(NamedTuple):
    """Counts of instances; those of several fields are added.

    Attributes:
      true_positives: instances of the truth that were found.
      false_positives: instances of the prediction that are none of the truth.
      false_negatives: instances of the truth that were not found.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN); 1 where there is nothing in either."""
        total = sum(self)
        if not total:
            return 1.0
        return self.true_positives / total


class Jaccard(NamedTuple):
    """The two sums of the aggregated Jaccard index; those of several fields are added.

    Attributes:
      intersection: pixels.
      union: pixels.
    """

    intersection: int
    union: int

    @property
    def index(self) -> float:
        """Intersection over union; 1 where there is nothing in either."""
        if not self.union:
            return 1.0
        return self.intersection / self.union


def overlaps(truth: np.ndarray, predicted: np.ndarray) -> Overlaps:
    """Counts the pixels that instances of two masks have in common.

    Args:
      truth: integer [H, W], 0 is background; numbers may have gaps.
      predicted: integer [H, W], likewise.

    Raises:
      ValueError: the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"masks of {truth.shape} and {predicted.shape} cannot be compared")
    truth_numbers, truth_places = _places(truth)
    predicted_numbers, predicted_places = _places(predicted)
    width = len(predicted_numbers) + 1
    pairs = truth_places * width + predicted_places
    counts = np.bincount(pairs.ravel(), minlength=(len(truth_numbers) + 1) * width)
    table = counts.reshape(-1, width)
    # Row 0 and column 0 are the background's.
    return Overlaps(table[1:, 1:], table[1:].sum(axis=1), table[:, 1:].sum(axis=0))


def match(found: Overlaps, threshold: float) -> Matches:
    """Matches instances one to one, as many as possible.

    Args:
      found: of `overlaps`.
      threshold: the smallest IoU of a match, above 0.
    """
    is_match = found.iou >= threshold
    # Below 0.5, or at 0.5 exactly, an instance may match several: the best assignment counts.
    rows, columns = linear_sum_assignment(is_match.astype(np.int64), maximize=True)
    hits = int(is_match[rows, columns].sum())
    return Matches(hits, len(found.predicted) - hits, len(found.truth) - hits)


def aggregated_jaccard(found: Overlaps) -> Jaccard:
    """The aggregated Jaccard index: each instance of the truth with the one of the highest IoU.

    Instances of the prediction that no instance of the truth chose are added to the union. As in
    the paper, one may be chosen more than once.

    Args:
      found: of `overlaps`.
    """
    if not len(found.truth) or not len(found.predicted):
        return Jaccard(0, int(found.truth.sum() + found.predicted.sum()))
    rows = np.arange(len(found.truth))
    chosen = found.iou.argmax(axis=1)
    intersection = found.intersection[rows, chosen]
    # What overlaps nothing has no partner.
    union = np.where(intersection > 0, found.union[rows, chosen], found.truth)
    is_left = np.ones(len(found.predicted), bool)
    is_left[chosen[intersection > 0]] = False
    total = union.sum() + found.predicted[is_left].sum()
    return Jaccard(int(intersection.sum()), int(total))


def add_matches(fields: Iterable[Matches]) -> Matches:
    """The counts of several fields together."""
    total = np.zeros(3, np.int64)
    for one in fields:
        total += one
    return Matches(*total.tolist())


def add_jaccard(fields: Iterable[Jaccard]) -> Jaccard:
    """The sums of several fields together."""
    total = np.zeros(2, np.int64)
    for one in fields:
        total += one
    return Jaccard(*total.tolist())


def _places(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The instances' numbers, ascending, and for each pixel 1 + the place of its own, else 0."""
    numbers, inverse = np.unique(mask, return_inverse=True)
    inverse = inverse.reshape(mask.shape).astype(np.int64)
    if len(numbers) and numbers[0] == 0:
        return numbers[1:], inverse
    return numbers, inverse + 1
