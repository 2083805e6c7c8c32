"""Losses for images with several labels each, and weighted sums of them.

Every loss is a pure function of logits `[B, L]` and 0/1 targets `[B, L]` that returns one float32
scalar. There are two kinds:

- a mean over (image, label) pairs: `bce`, `weighted`, `focal`, `asymmetric`. What a pair adds
  depends on no other pair.
- a mean over labels, each label's term computed from its entire column: `lovasz`, `soft_f1`. They
  stand for a set measure of the label, so they depend on which images share a batch.

The batch is always the global one: jitted with a sharded batch, the value is the unsharded one.
XLA then reduces sums, a few numbers per label; only `lovasz`, which sorts the images, gathers
arrays of the size of the logits (28 KB each at 256 images of 28 labels). Steps whose gradients are
accumulated are batches of their own: for the second kind, the mean over them is not the loss of
all their images together.

To add a loss:

1. write it here, as a function `name(logits, targets, *, setting=default)`, and add it to
   `LOSSES`; `config.train.loss` accepts it from then on, alone or in a sum;
2. a setting that users may change becomes the field `name_setting` of `hpa_jax.config.Loss`, and
   `hpa_jax/training/experiment.py` hands it to `make_loss`;
3. add a NumPy reference and a PyTorch one to `tests/support/loss_references.py`:
   `tests/optim/test_losses.py` then tests value, gradient, sharding and extreme logits.

Notes:
- Every loss is a mean. Published code often sums over the labels (the challenge's winners, for
  `focal`) or over the batch too (`asymmetric`), so weights of sums and learning rates do not
  carry over unchanged: 0.5 of a focal loss that is summed over 28 labels is `focal:14` here.
- Logarithms are taken of logits, never of a clamped score, so that loss and gradient stay finite
  at every finite logit.
- Scores trained with a loss other than `bce` are not calibrated probabilities: fit thresholds.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpa_jax.errors import InputError
from hpa_jax.optim.single_label_losses import SINGLE_LABEL_LOSSES

LossFunction = Callable[[jax.Array, jax.Array], jax.Array]


def bce(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross entropy, the loss of the baseline `hpa_densenet`.

    `mean -(t log s(z) + (1 - t) log(1 - s(z)))` in nats, `s` the logistic function.

    Args:
      logits: float `[B, L]`; computed in float32.
      targets: 0/1 `[B, L]`, any dtype.

    Returns:
      float32 scalar, the mean over all pairs.
    """
    logits, targets = _float32(logits, targets)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets))


def weighted(logits: jax.Array, targets: jax.Array, *, positive_weights: np.ndarray) -> jax.Array:
    """Binary cross entropy in which a positive of label `l` counts `w_l` times.

    `mean -(w_l t log s(z) + (1 - t) log(1 - s(z)))`, not divided by the weights: PyTorch's
    `pos_weight`. With the ratio of negatives to positives as weights it is, up to a factor per
    label, the balanced loss of Wang et al. It scales odds: where a fraction `p` of the images has
    a label, the odds of the best constant score are `w p / (1 - p)`.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.
      positive_weights: float `[L]`, see the function `positive_weights`.

    Returns:
      float32 scalar, the mean over all pairs.

    References:
      Wang et al. 2017, ChestX-ray8, arXiv:1705.02315 (W-CEL).
    """
    logits, targets = _float32(logits, targets)
    of_positives = jnp.asarray(positive_weights, jnp.float32)
    weights = jnp.where(targets > 0, of_positives, 1.0)
    return jnp.mean(weights * optax.sigmoid_binary_cross_entropy(logits, targets))


def focal(
    logits: jax.Array,
    targets: jax.Array,
    *,
    gamma: float = 2.0,
    alpha: float = -1.0,
) -> jax.Array:
    """Focal loss: pairs that are right already count little.

    `mean -a_t (1 - p_t)^gamma log p_t`, where `p_t` is the score of the truth: `s(z)` if `t`, else
    `1 - s(z)`. The paper divides by its number of positive anchors; here the mean is over all
    pairs.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.
      gamma: 0 or more; 0 is `bce` (times `a_t`).
      alpha: `a_t` is `alpha` for positives and `1 - alpha` for negatives (the paper: 0.25); below
        0, `a_t` is 1 for both.

    Returns:
      float32 scalar, the mean over all pairs.

    References:
      Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv:1708.02002, eq. 5.
    """
    logits, targets = _float32(logits, targets)
    # Optax takes None for "no balance", which a typed setting cannot be.
    balance = alpha if alpha >= 0 else None
    pairs = optax.sigmoid_focal_loss(logits, targets, gamma=gamma, alpha=balance)
    return jnp.mean(pairs)


def asymmetric(
    logits: jax.Array,
    targets: jax.Array,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    clip: float = 0.05,
) -> jax.Array:
    """Asymmetric loss: a focal loss with one exponent for positives and another for negatives.

    `mean -(t (1 - p)^g+ log p + (1 - t) p_m^g- log(1 - p_m))`, with `p = s(z)` and
    `p_m = max(p - clip, 0)`. Negatives that score below `clip` count nothing, and for a negative
    whose score nears 1, which is taken to be mislabeled, the gradient goes to 0.

    The authors' code sums over the batch, lets no score of a positive fall below 1e-8, and by
    default treats the two powers as constants in the gradient; the paper and this function
    differentiate them.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.
      gamma_positive: exponent of positives, 0 or more.
      gamma_negative: exponent of negatives, 0 or more.
      clip: the margin by which scores of negatives are lowered, 0 to below 1.

    Returns:
      float32 scalar, the mean over all pairs.

    References:
      Ridnik et al. 2021, Asymmetric Loss For Multi-Label Classification, arXiv:2009.14119.
    """
    logits, targets = _float32(logits, targets)
    log_p = jax.nn.log_sigmoid(logits)
    log_q = jax.nn.log_sigmoid(-logits)
    positive = jnp.exp(gamma_positive * log_q) * -log_p
    if clip > 0:
        # At most 1 - clip, so its logarithm is safe. At 0 a power below 1 is infinitely steep: the
        # gradient of relu selects instead of multiplying and keeps that infinity out.
        shifted = jax.nn.relu(jax.nn.sigmoid(logits) - clip)
        negative = shifted**gamma_negative * -jnp.log1p(-shifted)
    else:
        negative = jnp.exp(gamma_negative * log_p) * -log_q
    return jnp.mean(targets * positive + (1 - targets) * negative)


def lovasz(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Symmetric Lovasz hinge: a convex surrogate of the Jaccard loss of each label.

    For one label, `e_i = 1 - (2 t_i - 1) z_i` are the hinge errors of the batch's images, and
    `D(S)` is the Jaccard loss when the images `S` are wrong: `1 - |P - S| / |P | S|`, `P` the
    positives. Its Lovasz extension at `max(e, 0)` is `sum_k max(e_(k), 0) (D(S_k) - D(S_k-1))`,
    errors in descending order and `S_k` the first `k`. Symmetric: the mean of this and of the same
    with positives and negatives exchanged, as the challenge's winners used it, label by label
    (CellProfiling/HPA-competition-solutions, bestfitting). Both have the same errors, so one sort
    serves both.

    The loss is 0 where all margins are 1 or more, and has no upper bound. For a label without a
    positive in the batch, the one worst negative counts fully in the first half: best summed with
    another loss. Its logits are margins, not log odds.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.

    Returns:
      float32 scalar, the mean over labels.

    References:
      Yu & Blaschko 2015, Learning Submodular Losses with the Lovasz Hinge, arXiv:1512.07797.
      Berman et al. 2018, The Lovasz-Softmax loss, arXiv:1705.08790.
    """
    logits, targets = _float32(logits, targets)
    errors = 1 - (2 * targets - 1) * logits
    # Descending errors, and the targets in the same order.
    negated, targets = jax.lax.sort((-errors, targets), dimension=0, num_keys=1)
    increments = _jaccard_increments(targets) + _jaccard_increments(1 - targets)
    of_labels = jnp.sum(jax.nn.relu(-negated) * increments, axis=0)
    return jnp.mean(of_labels) / 2


def _jaccard_increments(targets: jax.Array) -> jax.Array:
    """By how much the Jaccard loss grows with the k-th wrong image.

    Args:
      targets: float32 0/1 `[B, L]`, each column in the order in which its images become wrong.

    Returns:
      float32 `[B, L]`.
    """
    positives = jnp.sum(targets, axis=0)
    intersection = positives - jnp.cumsum(targets, axis=0)
    # Never empty: the first image is either a positive or a false positive.
    union = positives + jnp.cumsum(1 - targets, axis=0)
    jaccard = 1 - intersection / union
    return jnp.diff(jaccard, axis=0, prepend=0.0)


def soft_f1(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """One minus macro F1, with scores in the place of decisions.

    `mean_l (1 - 2 sum_i s(z_il) t_il / (sum_i s(z_il) + sum_i t_il))`, sums over the batch. At
    scores of 0 and 1 this is one minus the batch's macro F1, labels without positives counted as
    0. Such a label adds 1 and has no gradient: its false positives cost nothing in batches without
    a positive, so sum this loss with another one.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.

    Returns:
      float32 scalar, the mean over labels.

    References:
      Benedict et al. 2021, sigmoidF1, arXiv:2108.10566, with slope 1 and offset 0.
    """
    logits, targets = _float32(logits, targets)
    scores = jax.nn.sigmoid(logits)
    true_positives = jnp.sum(scores * targets, axis=0)
    both = jnp.sum(scores, axis=0) + jnp.sum(targets, axis=0)
    # Below the limit only where a label has no positives, and then the numerator is 0.
    return jnp.mean(1 - 2 * true_positives / jnp.maximum(both, 1e-6))


def _float32(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.float32)


LOSSES: dict[str, Callable[..., jax.Array]] = {
    "bce": bce,
    "weighted": weighted,
    "focal": focal,
    "asymmetric": asymmetric,
    "lovasz": lovasz,
    "soft_f1": soft_f1,
}
"""For images with several labels each; `SINGLE_LABEL_LOSSES` has those for images with one."""


def is_single_label(terms: str) -> bool:
    """Whether `config.train.loss` is for images with exactly one label each.

    This alone decides what a net's logits mean: a softmax over the labels, of which the largest is
    the image's, or a logistic function each, with a threshold.

    Raises:
      InputError: as `parse_terms`.
    """
    return next(iter(parse_terms(terms))) in SINGLE_LABEL_LOSSES


def probabilities_function(*, single_label: bool) -> Callable[[jax.Array], jax.Array]:
    """What makes probabilities of logits `[B, L]`: of labels that exclude each other, or not.

    Args:
      single_label: as `is_single_label` says of the loss that a net learned with.
    """
    return jax.nn.softmax if single_label else jax.nn.sigmoid


def make_loss(terms: str, options: Mapping[str, Mapping[str, Any]] | None = None) -> LossFunction:
    """Makes a loss, or a weighted sum of losses.

    Args:
      terms: "NAME" or "NAME:WEIGHT" (default 1), several separated by commas, such as
        "focal:0.5,lovasz:0.5".
      options: keyword arguments of the losses by their names, such as `{"focal": {"gamma": 1.5}}`;
        `weighted` needs `{"weighted": {"positive_weights": [L]}}`. Those of losses that `terms`
        does not name are ignored.

    Returns:
      A function of logits `[B, L]` and targets `[B, L]` that returns a float32 scalar.

    Raises:
      InputError: an unknown name, a name twice, or a weight that is not a number above 0.
      ValueError: `weighted` without `positive_weights`.
    """
    weights = parse_terms(terms)
    options = options or {}
    if "weighted" in weights and "positive_weights" not in options.get("weighted", {}):
        raise ValueError("the loss 'weighted' needs positive_weights")

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        total = 0
        for name, weight in weights.items():
            value = _ALL[name](logits, targets, **options.get(name, {}))
            total = total + weight * value
        return total

    return loss


def parse_terms(terms: str) -> dict[str, float]:
    """Parses "NAME" or "NAME:WEIGHT", separated by commas, into the weight of each loss.

    Raises:
      InputError: an unknown name, a name twice, a weight that is not a number above 0, or losses
        for one label and for several in one sum.
    """
    setting = f"config.train.loss={terms!r}"
    weights = {}
    for term in terms.split(","):
        name, colon, number = term.partition(":")
        name = name.strip()
        number = number.strip()
        if name not in _ALL:
            raise InputError(
                f"{setting}: {name!r} is unknown; choose from {', '.join(_ALL)}, "
                "each NAME or NAME:WEIGHT, separated by commas"
            )
        if name in weights:
            raise InputError(f"{setting} has {name!r} twice; add up its weights")
        weight = _parse_weight(number) if colon else 1.0
        if not 0 < weight < math.inf:
            raise InputError(
                f"{setting}: the weight {number!r} of {name!r} is not a number above 0"
            )
        weights[name] = weight
    for_one_label = [name for name in weights if name in SINGLE_LABEL_LOSSES]
    if for_one_label and len(for_one_label) < len(weights):
        raise InputError(
            f"{setting}: {for_one_label[0]!r} is for images with one label each and cannot be "
            "summed with losses for several; leave one kind out"
        )
    return weights


_ALL = LOSSES | SINGLE_LABEL_LOSSES


def _parse_weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # Fails the check of its range, as a written "nan" does.
        return math.nan


def positive_weights(targets: np.ndarray, power: float, limit: float) -> np.ndarray:
    """Weights of the positives of each label, for `weighted`.

    `(negatives / positives)^power`, clipped to `1 / limit` to `limit`.

    Args:
      targets: 0/1 `[N, L]` of the images to train on.
      power: 0: all weights are 1; 1: positives and negatives of a label weigh the same together;
        0.5 lies between.
      limit: 1 or more; also the weight of a label without positives.

    Returns:
      float32 `[L]`.
    """
    positives = np.sum(targets, axis=0, dtype=np.float64)
    negatives = len(targets) - positives
    # A label without positives gets infinity here, and the limit below.
    with np.errstate(divide="ignore"):
        ratio = negatives / positives
    return np.clip(ratio**power, 1 / limit, limit).astype(np.float32)
