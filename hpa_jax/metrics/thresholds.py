"""One threshold a label instead of 0.5: fitted to F1, and what that is worth on fields that it was not fitted on.

A threshold fitted and scored on the same fields flatters itself, most of all on rare labels. Cross-fitting is the
honest figure: the fields are dealt into folds, each fold is decided with the thresholds of the others, and the
decisions of all folds are pooled before F1 is taken once.

Unusual here:
- nothing loops over fields or labels. Everything works on histograms (`metrics.ScoreCounts`), inside jit, and the
  counts of the other folds are the total less the fold's own;
- two F1 are compared as fractions of integers, with products of 64 bits made of 32: no rounding, so the thresholds of
  a CPU, a GPU and a TPU are those of a search in float64;
- a label with a handful of positives does not stand alone: see `fit`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.metrics import classification


def fit(counts: classification.ScoreCounts, *, few_positives: int = 0) -> np.ndarray:
    """The threshold on the grid that maximises each label's F1: float64 [L].

    Where several thresholds are equally good, as they all are between two neighbouring scores, the middle one (the
    lower median) is taken: it leaves most room on both sides. A label without positives, or whose best F1 is 0, keeps
    0.5.

    With `few_positives` = m above 0, a label of n < m positives borrows from the others. Over the labels with at least
    m, logit(threshold) is regressed on log(positives) (least squares; rarer labels have lower thresholds); the value of
    that line at n, kept within the range of those thresholds, counts 1 - n / m and the label's own logit n / m. A label
    that cannot be fitted takes the line's value, one without any positives that at n = 1. And no threshold is then 0,
    which would predict a label for every field, or 1, which would predict it for none. Of m = 0, 5 and 10 five is best,
    on real scores and on simulated ones (benchmarks/borrowing.py).

    Args:
      counts: ScoreCounts of int [..., L, bins + 2].
      few_positives: m; 0: every label stands alone.
    """
    bins = counts.positives.shape[-1] - 2
    return classification.thresholds(bins)[np.asarray(_fit_index(counts, few_positives))]


def fit_index(counts: classification.ScoreCounts, few_positives: int = 0) -> jax.Array:
    """As `fit`, but the thresholds' positions on the grid: int32 [..., L]. Pure, for use inside jit.

    Exact but for what is borrowed, whose logarithms are float32.
    """
    positives, negatives = (jnp.asarray(a, jnp.int32) for a in (counts.positives, counts.negatives))
    bins = positives.shape[-1] - 2
    # the sum over all bins from k on, less bin k: predicted at threshold k where the bin lies above k
    tp, fp = (
        jnp.flip(jnp.cumsum(jnp.flip(a, -1), -1), -1)[..., 1:].astype(jnp.uint32)
        for a in (positives, negatives)
    )
    borne = jnp.sum(positives, -1)
    # F1 = 2 tp / (tp + fp + tp + fn), and the last two are all positives
    whole = jnp.maximum(tp + fp + borne[..., None].astype(jnp.uint32), 1)
    if not few_positives:
        own, fitted = _best(tp, whole)
        return jnp.where(fitted, own, bins // 2)
    # the lower median is 0 where all thresholds up to 0.001 are equally good: one step up, then
    inner = tp.at[..., 0].set(0).at[..., bins].set(0)
    middle, fitted = _best(jnp.stack([tp, inner]), jnp.broadcast_to(whole, (2, *whole.shape)))
    own = jnp.where(middle[0] > 0, middle[0], middle[1])
    return _borrowed(jnp.where(fitted[1], own, bins // 2), fitted[1], borne, few_positives, bins)


_fit_index = jax.jit(fit_index, static_argnums=1)


def _best(part: jax.Array, whole: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Position of the lower median of the largest part / whole along the last axis, and whether it is above 0."""
    best = jax.lax.reduce((part, whole), (np.uint32(0), np.uint32(1)), _larger, (part.ndim - 1,))
    tied = jnp.cumsum(~_less(part, whole, *(a[..., None] for a in best)), -1, dtype=jnp.int32)
    middle = jnp.argmax(tied >= (tied[..., -1:] + 1) // 2, -1)
    return middle.astype(jnp.int32), best[0] > 0


def _larger(x: tuple, y: tuple) -> tuple:
    less = _less(*x, *y)
    return jnp.where(less, y[0], x[0]), jnp.where(less, y[1], x[1])


def _less(a, b, c, d) -> jax.Array:
    """a / b < c / d for uint32, exactly; b and d above 0."""
    (high1, low1), (high2, low2) = _product(a, d), _product(c, b)
    return (high1 < high2) | ((high1 == high2) & (low1 < low2))


def _product(a, b) -> tuple[jax.Array, jax.Array]:
    """The upper and the lower 32 bits of the product of two uint32, from products of 16 bits."""
    half = 0xFFFF
    low, high = (a & half) * (b & half), (a >> 16) * (b >> 16)
    cross1, cross2 = (a >> 16) * (b & half), (a & half) * (b >> 16)
    carry = (low >> 16) + (cross1 & half) + (cross2 & half)
    return high + (cross1 >> 16) + (cross2 >> 16) + (carry >> 16), (low & half) | (carry << 16)


def _borrowed(own, fitted, borne, few: int, bins: int) -> jax.Array:
    """The rule of `fit` for labels of fewer than `few` positives: int32 [..., L] in 1..bins - 1."""
    logit = jnp.log(own.astype(jnp.float32)) - jnp.log((bins - own).astype(jnp.float32))
    x = jnp.log(jnp.maximum(borne, 1).astype(jnp.float32))
    trusted = fitted & (borne >= few)
    labels = jnp.maximum(jnp.sum(trusted, -1, keepdims=True), 1)
    mean = partial(jnp.sum, axis=-1, keepdims=True, where=trusted)
    mean_x, mean_logit = (
        mean(x) / labels,
        mean(logit) / labels,
    )  # nobody to borrow from: logit 0, threshold 0.5
    spread = mean((x - mean_x) ** 2)
    slope = jnp.where(
        spread > 0, mean((x - mean_x) * (logit - mean_logit)) / jnp.where(spread > 0, spread, 1), 0
    )
    line = mean_logit + slope * (x - mean_x)
    lowest = jnp.min(logit, -1, keepdims=True, where=trusted, initial=jnp.inf)
    highest = jnp.max(logit, -1, keepdims=True, where=trusted, initial=-jnp.inf)
    line = jnp.where(jnp.any(trusted, -1, keepdims=True), jnp.clip(line, lowest, highest), 0)
    share = jnp.where(fitted, jnp.minimum(borne / few, 1), 0)
    mixed = jnp.round(bins * jax.nn.sigmoid(share * logit + (1 - share) * line)).astype(jnp.int32)
    return jnp.where(trusted, own, jnp.clip(mixed, 1, bins - 1))


def decide(scores: np.ndarray, thresholds: np.ndarray, *, fill_empty: bool = False) -> np.ndarray:
    """Which labels each field is given: bool [N, L], score > threshold in the scores' own precision.

    Args:
      scores: float [N, L] in [0, 1].
      thresholds: float [L] (or [N, L]).
      fill_empty: a field above no threshold gets the one label whose score / threshold is largest (the first of equal
        ones). Where every score is 0 that is label 0: say so if it can happen to you.
    """
    thresholds = np.broadcast_to(thresholds, scores.shape)
    decided = scores > thresholds.astype(scores.dtype)
    if fill_empty:
        empty = np.flatnonzero(~decided.any(1))
        near = classification.ratio(
            scores[empty], thresholds[empty]
        )  # a threshold of 0 is not come near to: 0
        decided[empty, near.argmax(1)] = True
    return decided


def assign_folds(
    fields: int, folds: int = 5, seed: int = 0, groups: np.ndarray | None = None
) -> np.ndarray:
    """Deals the fields into folds of equal size (to within one): int32 [fields] in 0..folds - 1.

    A seeded permutation and nothing more. Dealing the bearers of each rare label evenly was tried on real scores (6215
    fields, 20 seeds): macro F1 0.4104 with a standard deviation of 0.0010 over seeds, against 0.4098 and 0.0010.

    With `groups` (int [fields]: neighbours that must not stand on both sides) whole groups are dealt, the largest
    first, each into the fold that has the fewest fields. Groups of one field each are dealt as fields are.
    """
    order = np.random.default_rng(seed)
    if groups is None:
        fold = np.empty(fields, np.int32)
        fold[order.permutation(fields)] = np.arange(fields) % folds
        return fold
    _, first, group, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    appearance = np.argsort(first)  # names do not matter: groups are counted as they come
    dealt = appearance[order.permutation(len(sizes))]
    dealt = dealt[np.argsort(-sizes[dealt], kind="stable")]
    fold_of, filled = np.empty(len(sizes), np.int32), np.zeros(folds, np.int64)
    for g in dealt:
        fold_of[g] = np.argmin(filled)
        filled[fold_of[g]] += sizes[g]
    return fold_of[group]


def crossfit(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    bins: int = classification.BINS,
    groups: np.ndarray | None = None,
    few_positives: int = 0,
    fill_empty: bool = False,
    mesh=None,
) -> dict:
    """Figures with fitted thresholds: honest (cross-fitted) and optimistic (fitted and scored on everything).

    Args:
      scores: float [N, L] in [0, 1]; targets: 0/1 [N, L].
      folds: at least 2; brought down to N (or the number of groups) where there are fewer. One field has no other to
        fit on: it keeps 0.5.
      seed, groups: of `assign_folds`.
      few_positives: of `fit`; fill_empty: of `decide`.
      mesh: see `metrics.count_arrays`.

    Returns:
      counts: ScoreCounts of int32 [L, bins + 2] of all fields.
      folds: how many folds were dealt; fold: int32 [N], each field's.
      decisions: bool [N, L], each field's with the thresholds of the other folds.
      crossfit, in_sample: `metrics.ratios` of the pooled held-out decisions, and of the fit on everything.
      thresholds: float64 [L], fitted on everything.
      thresholds_by_fold: float64 [folds, L], each row fitted without its fold.
      alone: crossfit, in_sample and thresholds as they would be without `few_positives` and `fill_empty`.
    """
    folds = min(folds, len(scores) if groups is None else len(np.unique(groups)))
    fold = assign_folds(len(scores), folds, seed, groups)
    by_fold = classification.count_arrays(scores, targets, fold, groups=folds, bins=bins, mesh=mesh)
    everything, own, index = jax.device_get(_fit_folds(by_fold, few_positives))
    grid, borne = classification.thresholds(bins), targets != 0

    def figures(index: np.ndarray, fill_empty: bool) -> tuple[dict, np.ndarray, np.ndarray]:
        by_fold = np.full_like(index[1:], bins // 2) if folds == 1 else index[1:]
        decisions = decide(scores, grid[by_fold][fold], fill_empty=fill_empty)
        same_fields = classification.decisions(
            decide(scores, grid[index[0]], fill_empty=fill_empty), borne
        )
        found = {
            "crossfit": classification.ratios(classification.decisions(decisions, borne)),
            "in_sample": classification.ratios(same_fields),
            "thresholds": grid[index[0]],
        }
        return found, decisions, grid[by_fold]

    found, decisions, by_fold = figures(index, fill_empty)
    return {
        "counts": everything,
        "folds": folds,
        "fold": fold,
        "decisions": decisions,
        **found,
        "thresholds_by_fold": by_fold,
        "alone": figures(own, False)[0],
    }


@partial(jax.jit, static_argnums=1)
def _fit_folds(by_fold: classification.ScoreCounts, few_positives: int):
    """Counts of everything; positions [1 + folds, L] of everything's thresholds and those without each fold, own and
    with borrowing."""
    everything = jax.tree.map(lambda a: a.sum(0, dtype=a.dtype), by_fold)
    both = jax.tree.map(
        lambda total, own: jnp.concatenate([total[None], total - own]), everything, by_fold
    )
    return everything, fit_index(both), fit_index(both, few_positives)


def crossfit_decisions(scores: np.ndarray, targets: np.ndarray, **settings) -> np.ndarray:
    """bool [N, L]: each field decided with thresholds of the other folds; `settings` are those of `crossfit`."""
    return crossfit(scores, targets, **settings)["decisions"]
