"""Moves groups between the parts of a split until every label's fields are as near to proportional as it gets.

The measure is the sum over labels and parts of the squared deviation as a share of the label's fields; before it
counts how many parts lack a label that should stand in each. The worst entry is taken first; the best single move
for it is made; it ends when no entry that is off by half a field and by 0.05 % of its label has a move that helps.

Unusual: all in integers (shares are ten-thousandths), so that sums come out the same on every machine.
"""

import numpy as np

_SCALE = (
    2**40
)  # of the weights 1 / n^2: with 10,000 ths, 29 labels and n fields a sum stays below 2**63
_TRIED = 2048  # groups looked at for one move: the first ones in the split's random order
_SIZE = 8  # a part's size counts like a label eight times as far off: all fields are many, so that shares are small
_NEAR = 2**9  # share of a label's fields, in 2**-20, that is near enough to proportional: 0.05 %
_MOVES = 20_000


def repair(
    part: np.ndarray, held: np.ndarray, share: np.ndarray, enough: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """Improves a split.

    Args:
      part: int [G], the part of each group.
      held: int [G, K], fields of each group that bear each label; the last column counts all fields.
      share: int64 [P], what each part should have, in parts of their sum; none goes where it is 0.
      enough: bool [K], labels that should stand in every part.
      free: int [F], the groups that may be moved, in the order in which equals are chosen.

    Returns:
      the new part of each group.
    """
    state = _State(part.copy(), held, share, enough)
    bearers = [free[held[free, label] > 0] for label in range(held.shape[1])]
    for _ in range(_MOVES):
        if not any(state.improve(bearers[label], label, here) for label, here in state.worst()):
            break
    return state.part


class _State:
    """The split as it stands, with its counts."""

    def __init__(self, part: np.ndarray, held: np.ndarray, share: np.ndarray, enough: np.ndarray):
        self.part, self.held, self.share, self.enough = part, held, share, enough
        self.open = np.flatnonzero(share > 0)
        self.count = np.zeros((len(share), held.shape[1]), np.int64)
        np.add.at(self.count, part, held)
        self.total = self.count.sum(0)
        self.weight = np.maximum(_SCALE // np.maximum(self.total, 1) ** 2, 1)
        self.weight[-1] *= _SIZE**2

    def off(self) -> np.ndarray:
        """int64 [P, K]: fields above proportion, times the sum of the shares."""
        return self.count * self.share.sum() - np.outer(self.share, self.total)

    def worst(self) -> list[tuple[int, int]]:
        """(label, part) of the entries that may be worth a move, the worst first."""
        off, whole = np.abs(self.off()), self.share.sum()
        lacking = (self.count == 0) & self.enough & (self.share > 0)[:, None]
        badness = (off << 20) // (
            whole * np.maximum(self.total, 1)
        )  # share of the label's fields, in 2**-20
        badness[:, -1] *= _SIZE
        parts, labels = np.nonzero(lacking | ((2 * off > whole) & (badness > _NEAR)))
        badness += lacking.astype(np.int64) << 21
        order = np.lexsort((parts, labels, -badness[parts, labels]))
        return [(int(labels[k]), int(parts[k])) for k in order]

    def improve(self, bearers: np.ndarray, label: int, here: int) -> bool:
        """Makes the best move of a group with the label out of the part, or into it; False if none helps."""
        over = self.off()[here, label] > 0
        inside = self.part[bearers] == here
        tried = bearers[inside if over else ~inside][:_TRIED]
        if not len(tried):
            return False
        targets = self.open[self.open != here] if over else self.open[self.open == here]
        best = (0, 0)
        for to in targets:
            lost, cost = self._price(tried, to)
            k = np.lexsort((cost, lost))[0]  # stable: the first of equals
            if (lost[k], cost[k]) < best[:2]:
                best = (lost[k], cost[k], tried[k], to)
        if best == (0, 0):
            return False
        *_, group, to = best
        self.count[self.part[group]] -= self.held[group]
        self.count[to] += self.held[group]
        self.part[group] = to
        return True

    def _price(self, groups: np.ndarray, to: int) -> tuple[np.ndarray, np.ndarray]:
        """What moving each group to the part costs: labels that parts come to lack, less those they lack no longer;
        and the change of the measure."""
        held, source = self.held[groups].astype(np.int64), self.part[groups]
        off, whole = self.off(), self.share.sum()
        # The square of (off - x), less that of off, here; of (off + x) there; both halved, and over `whole`.
        cost = (self.weight * held * (held * whole + off[to] - off[source])).sum(1)
        bears = (held > 0) & self.enough
        lost = (bears & (self.count[source] == held)).sum(1) - (bears & (self.count[to] == 0)).sum(
            1
        )
        return lost, cost
