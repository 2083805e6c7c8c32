"""Losses for images with several labels each, and weighted sums of them.

Every loss is a pure function of logits `[B, L]` and 0/1 targets `[B, L]` that returns one float32
scalar. There are two kinds:

- a mean over (image, label) pairs: `bce`, `weighted`, `focal`, `asymmetric`, `ldam`, below. What a
  pair adds depends on no other pair.
- a mean over labels, each label's term computed from its entire column: `lovasz`, `soft_f1`, in
  `set_losses.py`. They stand for a set measure of the label, so they depend on which images share a
  batch.

The batch is always the global one: jitted with a sharded batch, the value is the unsharded one.
XLA then reduces sums, a few numbers per label; only `lovasz`, which sorts the images, gathers
arrays of the size of the logits (28 KB each at 256 images of 28 labels). Steps whose gradients are
accumulated are batches of their own: for the second kind, the mean over them is not the loss of
all their images together.

To add a loss:

1. write it here, as a function `name(logits, targets, *, setting=default)`, and add it to
   `LOSSES`; `config.train.loss` accepts it from then on, alone or in a sum;
2. a setting that users may change becomes the field `name_setting` of `hpa_jax.config.Loss`, and
   `hpa_jax/training/components.py` hands it to `make_loss`. What follows from the labels of the
   images to train on is computed in `label_weights.py`, and named in `FROM_LABELS`;
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

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpa_jax.errors import InputError
from hpa_jax.optim.label_weights import positive_weights
from hpa_jax.optim.set_losses import lovasz, soft_f1
from hpa_jax.optim.single_label_losses import SINGLE_LABEL_LOSSES
from hpa_jax.optim.terms import parse_weights

__all__ = [
    "FROM_LABELS",
    "LOSSES",
    "LossFunction",
    "asymmetric",
    "bce",
    "focal",
    "ldam",
    "lovasz",
    "make_loss",
    "parse_terms",
    "positive_weights",
    "soft_f1",
    "weighted",
]

LossFunction = Callable[..., jax.Array]
"""Of logits and targets `[B, L]`, and the step (default 0), to a float32 scalar."""


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


def ldam(
    logits: jax.Array,
    targets: jax.Array,
    *,
    margins: np.ndarray,
    label_weights: jax.Array,
    scale: float = 1.0,
) -> jax.Array:
    """Label-distribution-aware margins: a rare label has to be found with more to spare.

    `mean -w_l (t log s(u) + (1 - t) log(1 - s(u)))` with `u = scale (z - m_l t)`: binary cross
    entropy in which the logit of a positive is lowered by the margin of its label. Each label is
    a problem of two classes; the paper's form is a softmax over classes that exclude each other,
    and its logits are cosines, which is why it scales them by 30. Logits here are unbounded.

    A weight holds for the positives and the negatives of its label: it says how much the label
    counts, and leaves the balance within it to the margin.

    Args:
      logits: float `[B, L]`.
      targets: 0/1 `[B, L]`.
      margins: float `[L]`, see `label_weights.label_margins`.
      label_weights: float `[L]`, see `label_weights.effective_number_weights`; for deferred
        re-weighting `make_loss` takes a function of the step, `label_weights.deferred`.
      scale: of the logits, above 0.

    Returns:
      float32 scalar, the mean over all pairs.

    References:
      Cao et al. 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
      arXiv:1906.07413, eq. 10 to 13. With deferred re-weighting it was best for rare labels where
      images have several: Sulake 2026, arXiv:2603.02294.
    """
    logits, targets = _float32(logits, targets)
    lowered = logits - jnp.asarray(margins, jnp.float32) * targets
    pairs = optax.sigmoid_binary_cross_entropy(scale * lowered, targets)
    return jnp.mean(jnp.asarray(label_weights, jnp.float32) * pairs)


def _float32(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.float32)


LOSSES: dict[str, Callable[..., jax.Array]] = {
    "bce": bce,
    "weighted": weighted,
    "focal": focal,
    "asymmetric": asymmetric,
    "ldam": ldam,
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


FROM_LABELS = {"weighted": ("positive_weights",), "ldam": ("margins", "label_weights")}
"""By loss: the options without a default, since they follow from the labels to train on."""


def make_loss(terms: str, options: Mapping[str, Mapping[str, Any]] | None = None) -> LossFunction:
    """Makes a loss, or a weighted sum of losses.

    Args:
      terms: "NAME" or "NAME:WEIGHT" (default 1), several separated by commas, such as
        "focal:0.5,lovasz:0.5".
      options: keyword arguments of the losses by their names, such as `{"focal": {"gamma": 1.5}}`;
        those of FROM_LABELS have to be there, as `{"weighted": {"positive_weights": [L]}}`. A
        function in the place of a value is called with the step. Options of losses that `terms`
        does not name are ignored.

    Returns:
      A function of logits `[B, L]`, targets `[B, L]` and the step (an int, may be traced; 0 unless
      it is given) that returns a float32 scalar.

    Raises:
      InputError: an unknown name, a name twice, or a weight that is not a number above 0.
      ValueError: an option of FROM_LABELS is missing.
    """
    weights = parse_terms(terms)
    options = options or {}
    for name in weights:
        for needed in FROM_LABELS.get(name, ()):
            if needed not in options.get(name, {}):
                raise ValueError(f"the loss {name!r} needs {needed}")

    def loss(logits: jax.Array, targets: jax.Array, step: jax.Array | int = 0) -> jax.Array:
        total = 0
        for name, weight in weights.items():
            settings = _at_step(options.get(name, {}), step)
            total = total + weight * _ALL[name](logits, targets, **settings)
        return total

    return loss


def _at_step(options: Mapping[str, Any], step: jax.Array | int) -> dict[str, Any]:
    values = {}
    for name, value in options.items():
        values[name] = value(step) if callable(value) else value
    return values


def parse_terms(terms: str) -> dict[str, float]:
    """Parses "NAME" or "NAME:WEIGHT", separated by commas, into the weight of each loss.

    Raises:
      InputError: an unknown name, a name twice, a weight that is not a number above 0, or losses
        for one label and for several in one sum.
    """
    weights = parse_weights(terms, _ALL, "config.train.loss")
    for_one_label = [name for name in weights if name in SINGLE_LABEL_LOSSES]
    if for_one_label and len(for_one_label) < len(weights):
        raise InputError(
            f"config.train.loss={terms!r}: {for_one_label[0]!r} is for images with one label "
            "each and cannot be summed with losses for several; leave one kind out"
        )
    return weights


_ALL = LOSSES | SINGLE_LABEL_LOSSES
