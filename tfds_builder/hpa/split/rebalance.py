"""Moves groups between subsets until each label's images are as near to proportional as possible.

A subset is the test split or a fold. The cost of a split is the sum over labels and subsets of the
squared deviation from proportion, as a fraction of the label's images; the number of subsets that
lack a label which should be in each comes before it. The worst entry is taken first and the best
single move for it is made, until no entry that is off by half an image and by 0.05 % of its label
has a move that helps.

Design: all in integers (fractions are ten-thousandths), so sums are the same on every machine.
"""

import numpy as np

# Scale of the weights 1 / n^2: with 10,000ths, 29 labels and n images a sum stays below 2**63.
_SCALE = 2**40
_MAX_TRIED = 2048  # groups tried for one move: the first ones in the split's random order
# A subset's size counts like a label eight times as far off: the images are many, so that their
# deviations are small fractions.
_SIZE_WEIGHT = 8
_NEAR = 2**9  # fraction of a label's images, in 2**-20, that is near enough: 0.05 %
_MAX_MOVES = 20_000


def rebalance(
    subset: np.ndarray,
    counts: np.ndarray,
    fraction: np.ndarray,
    required: np.ndarray,
    free: np.ndarray,
) -> np.ndarray:
    """Improves a split.

    Args:
      subset: int [G], the subset of each group.
      counts: int [G, K], images of each group with each label; the last column counts all images.
      fraction: int64 [P], what each subset should have, relative to their sum; a subset of fraction
        0 gets no group.
      required: bool [K], labels that should be in every subset.
      free: int [F], groups that may be moved, in the order in which ties are resolved.

    Returns:
      int [G], the new subset of each group.
    """
    state = _State(subset.copy(), counts, fraction, required)
    groups_with = [free[counts[free, label] > 0] for label in range(counts.shape[1])]
    for _ in range(_MAX_MOVES):
        if not _improve_any(state, groups_with):
            break
    return state.subset


def _improve_any(state: "_State", groups_with: list[np.ndarray]) -> bool:
    """Makes the first move that helps, from the worst entry on."""
    for label, subset in state.worst():
        if state.improve(groups_with[label], label, subset):
            return True
    return False


class _State:
    """The current split with its counts.

    Attributes:
      subset: int [G].
      total: int64 [P, K], images of each subset with each label.
    """

    def __init__(
        self, subset: np.ndarray, counts: np.ndarray, fraction: np.ndarray, required: np.ndarray
    ):
        self.subset = subset
        self.counts = counts
        self.fraction = fraction
        self.required = required
        self.open = np.flatnonzero(fraction > 0)
        self.total = np.zeros((len(fraction), counts.shape[1]), np.int64)
        np.add.at(self.total, subset, counts)
        self.label_total = self.total.sum(0)
        self.weight = np.maximum(_SCALE // np.maximum(self.label_total, 1) ** 2, 1)
        self.weight[-1] *= _SIZE_WEIGHT**2

    def excess(self) -> np.ndarray:
        """int64 [P, K]: images above proportion, times the sum of the fractions."""
        return self.total * self.fraction.sum() - np.outer(self.fraction, self.label_total)

    def worst(self) -> list[tuple[int, int]]:
        """(label, subset) of the entries that may be worth a move, the worst first."""
        off = np.abs(self.excess())
        unit = self.fraction.sum()
        lacking = (self.total == 0) & self.required & (self.fraction > 0)[:, None]
        # Fraction of the label's images, in 2**-20.
        badness = (off << 20) // (unit * np.maximum(self.label_total, 1))
        badness[:, -1] *= _SIZE_WEIGHT
        far = (2 * off > unit) & (badness > _NEAR)
        subsets, labels = np.nonzero(lacking | far)
        badness += lacking.astype(np.int64) << 21
        order = np.lexsort((subsets, labels, -badness[subsets, labels]))
        return [(int(labels[k]), int(subsets[k])) for k in order]

    def improve(self, candidates: np.ndarray, label: int, here: int) -> bool:
        """Makes the best move of a group with the label out of a subset, or into it.

        Args:
          candidates: int [C], groups with the label that may be moved.
          label: of which the subset has too many or too few images.
          here: the subset.

        Returns:
          whether there was a move that helps.
        """
        over = self.excess()[here, label] > 0
        inside = self.subset[candidates] == here
        tried = candidates[inside if over else ~inside][:_MAX_TRIED]
        if not len(tried):
            return False
        targets = self.open[self.open != here] if over else self.open[self.open == here]
        best_price = (0, 0)
        best_move = None
        for target in targets:
            lost, cost = self._price(tried, target)
            k = np.lexsort((cost, lost))[0]  # stable: the first of equals
            if (lost[k], cost[k]) < best_price:
                best_price = (lost[k], cost[k])
                best_move = (tried[k], target)
        if best_move is None:
            return False
        group, target = best_move
        self.total[self.subset[group]] -= self.counts[group]
        self.total[target] += self.counts[group]
        self.subset[group] = target
        return True

    def _price(self, groups: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
        """What it costs to move each group to a subset.

        Returns:
          the labels that subsets come to lack, less those that they lack no longer; and the change
          of the squared deviations.
        """
        counts = self.counts[groups].astype(np.int64)
        source = self.subset[groups]
        excess = self.excess()
        unit = self.fraction.sum()
        # (excess - x)^2 - excess^2 at the source plus (excess + x)^2 - excess^2 at the target, both
        # halved and divided by `unit`.
        change = counts * unit + excess[target] - excess[source]
        cost = (self.weight * counts * change).sum(1)
        matters = (counts > 0) & self.required
        emptied = matters & (self.total[source] == counts)
        filled = matters & (self.total[target] == 0)
        return emptied.sum(1) - filled.sum(1), cost
