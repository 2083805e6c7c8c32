"""Arrays prepared for resampling: sums by group, of which weighted.py makes every metric.

All metrics of the evaluator are ratios of weighted sums: decisions by label, gaps by calibration
bin and, for the ranking metrics, the images between one score of a positive and the next. So the
arrays are sorted once, into sparse matrices that have one entry an (image, label) pair.

Notes:
- Negatives that score below every positive are left out of the matrices: they are the total less
the rest."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hpa_jax.metrics import calibration, classification


@dataclass(frozen=True)
class DecisionSums:
    """Sums by group of one set of decisions.

    Attributes:
      tp: [L, groups], true positives.
      predicted: [L, groups], images predicted to have the label.
      image_f1: [1, groups], sum of the images' F1.
    """

    tp: sparse.csr_matrix
    predicted: sparse.csr_matrix
    image_f1: sparse.csr_matrix


@dataclass(frozen=True)
class Ranking:
    """Counts by group of one ranking.

    Its K levels are the distinct scores of positives, from the highest down.

    Attributes:
      positives: [K, groups], positives at each level.
      negatives: [K, groups], negatives at each level or between it and the level above.
      ties: [T, groups], negatives that tie with a positive, for the levels in `tied`.
      tied: int64 [T].
      all_positives: [1, groups].
      all_images: [1, groups].
    """

    positives: sparse.csr_matrix
    negatives: sparse.csr_matrix
    ties: sparse.csr_matrix
    tied: np.ndarray
    all_positives: sparse.csr_matrix
    all_images: sparse.csr_matrix


@dataclass(frozen=True)
class Problem:
    """What `prepare` makes of score arrays.

    Attributes:
      labels: their number, L.
      group_sizes: float64 [groups], images of each.
      has_positives: bool [L], labels that some image has.
      images: [1, groups], images of each group.
      positives: [L, groups].
      decisions: by the suffix of their metrics' names.
      rankings: of each label, then of all (image, label) pairs; empty without scores.
      calibration_gaps: [L * bins, groups], sum of score - target; None without scores.
    """

    labels: int
    group_sizes: np.ndarray
    has_positives: np.ndarray
    images: sparse.csr_matrix
    positives: sparse.csr_matrix
    decisions: dict[str, DecisionSums]
    rankings: tuple[Ranking, ...]
    calibration_gaps: sparse.csr_matrix | None


def group_index(images: int, groups: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Numbers the groups in the order of their names.

    Args:
      images: their number, N.
      groups: [N], each image's; None: each image is its own.

    Returns:
      int64 [N] in 0..G - 1, and G.
    """
    if groups is None:
        return np.arange(images), images
    names, index = np.unique(groups, return_inverse=True)
    return index, len(names)


def prepare(
    targets: np.ndarray,
    *,
    decisions: dict[str, np.ndarray],
    scores: np.ndarray | None = None,
    group: np.ndarray,
    groups: int,
) -> Problem:
    """Sorts and adds up by group, once.

    Args:
      targets: 0/1 [N, L].
      decisions: bool [N, L] each, by the suffix that their metrics get.
      scores: float [N, L] in [0, 1], for the ranking metrics and calibration; None: without them.
      group: int [N] in 0..groups - 1, whose weight each image takes.
      groups: their number.
    """
    positive = targets != 0
    images, labels = positive.shape
    by_group = _count_matrix(group, np.arange(images), (groups, images))

    def sums(columns: np.ndarray) -> sparse.csr_matrix:
        """[columns, groups] from [N, columns]."""
        table = sparse.csr_matrix(np.asarray(columns, np.float64))
        return (by_group @ table).T.tocsr()

    decision_sums = {}
    for suffix, predicted in decisions.items():
        image_f1 = classification.image_f1(predicted, positive)
        decision_sums[suffix] = DecisionSums(
            tp=sums(predicted & positive),
            predicted=sums(predicted),
            image_f1=sums(image_f1[:, None]),
        )
    rankings = []
    gaps = None
    if scores is not None:
        for label in range(labels):
            rankings.append(_rank(scores[:, label], positive[:, label], group, groups))
        pair_group = np.repeat(group, labels)
        rankings.append(_rank(scores.ravel(), positive.ravel(), pair_group, groups))
        gaps = _calibration_gaps(scores, positive, pair_group, groups)
    return Problem(
        labels=labels,
        group_sizes=np.bincount(group, minlength=groups).astype(np.float64),
        has_positives=positive.any(0),
        images=sums(np.ones((images, 1))),
        positives=sums(positive),
        decisions=decision_sums,
        rankings=tuple(rankings),
        calibration_gaps=gaps,
    )


def _count_matrix(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_matrix:
    """How often each (row, column) is named: equal places are added up."""
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _calibration_gaps(
    scores: np.ndarray, positive: np.ndarray, pair_group: np.ndarray, groups: int
) -> sparse.csr_matrix:
    labels = scores.shape[1]
    cell = calibration.calibration_bin(scores) + calibration.BINS * np.arange(labels)
    gap = scores.astype(np.float64) - positive
    places = (cell.ravel(), pair_group)
    return sparse.csr_matrix((gap.ravel(), places), shape=(labels * calibration.BINS, groups))


def _rank(scores: np.ndarray, positive: np.ndarray, group: np.ndarray, groups: int) -> Ranking:
    """Sorts one ranking. scores: float [P]; positive: bool [P]; group: int [P]."""
    rising_levels, position = np.unique(scores[positive], return_inverse=True)
    # Only at positives does precision or the area change: other scores need no level.
    levels = len(rising_levels)
    positive_level = levels - 1 - position  # level 0 is the highest
    positive_group = group[positive]
    negative_scores = scores[~positive]
    negative_group = group[~positive]
    # How many levels are not above each negative: none for those below every positive, which are
    # not counted.
    reached = np.searchsorted(rising_levels, negative_scores, side="right")
    counted = reached > 0
    negative_level = levels - reached
    tying = counted
    if levels:
        tying = counted & (rising_levels[np.maximum(reached - 1, 0)] == negative_scores)
    tied, tie_row = np.unique(negative_level[tying], return_inverse=True)

    def counts(rows: np.ndarray, columns: np.ndarray, height: int) -> sparse.csr_matrix:
        # Times weights of float64 the products are float64.
        return _count_matrix(rows, columns, (height, groups)).astype(np.float32)

    return Ranking(
        positives=counts(positive_level, positive_group, levels),
        negatives=counts(negative_level[counted], negative_group[counted], levels),
        ties=counts(tie_row, negative_group[tying], len(tied)),
        tied=tied,
        all_positives=counts(np.zeros_like(positive_group), positive_group, 1),
        all_images=counts(np.zeros_like(group), group, 1),
    )
