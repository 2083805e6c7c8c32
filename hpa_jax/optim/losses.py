"""Losses for fields that bear several labels, and weighted sums of them.

Each is a pure function of logits `[B, L]` and 0/1 targets `[B, L]` that gives one float32 number. Two kinds:

- mean over (field, label) pairs: `bce`, `weighted`, `focal`, `asymmetric`. A pair's share depends on no other pair.
- mean over labels, each label's share from its whole column: `lovasz`, `soft_f1`. They stand for a set measure of the
  label, so they depend on which fields share a batch.

The batch is always the global one: jitted with a sharded batch the value is the unsharded one. XLA then adds up sums,
a few numbers for each label; `lovasz` alone, which sorts the fields, gathers some arrays of the size of the logits
(28 KB each at 256 fields of 28 labels). Steps whose gradients are accumulated are batches of their own: of the second
kind the mean over them is not the loss of all their fields together.

Unusual here:
- everything is a mean. Published code often sums over the labels (winners of the challenge, `focal`) or over the whole
  batch (`asymmetric`), so weights of sums and learning rates do not carry over as they stand: 0.5 of a focal loss that
  is summed over 28 labels is `focal:14` here;
- logarithms are taken of logits, never of a clamped score, so loss and gradient stay finite at any finite logit;
- a loss other than `bce` does not make scores shares: fit thresholds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpa_jax.errors import InputError

LossFunction = Callable[[jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True)
class LossSettings:
    """What `make_loss` hands to the losses; the fields of `config.loss` that are not about `positive_weights`."""

    focal_gamma: float = 2.0
    focal_alpha: float = -1.0
    asymmetric_gamma_positive: float = 0.0
    asymmetric_gamma_negative: float = 4.0
    asymmetric_clip: float = 0.05


def bce(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross entropy: the seed study's loss.

    `mean -(t log s(z) + (1 - t) log(1 - s(z)))` in nats, `s` the logistic function.

    Args:
      logits: float `[B, L]`; computed in float32.
      targets: 0/1 `[B, L]`.

    Returns:
      float32 scalar, the mean over all pairs.
    """
    return jnp.mean(optax.sigmoid_binary_cross_entropy(*_float32(logits, targets)))


def weighted(logits: jax.Array, targets: jax.Array, *, positive_weights: np.ndarray) -> jax.Array:
    """Binary cross entropy in which a positive of label `l` counts `w_l` times: `pos_weight` of PyTorch.

    `mean -(w_l t log s(z) + (1 - t) log(1 - s(z)))`; not divided by the weights. With the ratio of negatives to
    positives it is, up to a factor for each label, the balanced loss of Wang et al. 2017, arXiv:1705.02315 (W-CEL).
    It makes odds: where a share `p` of fields bears a label, the best score's odds are `w p / (1 - p)`.

    Args:
      logits, targets: as `bce`.
      positive_weights: float `[L]`, see `positive_weights`.
    """
    logits, targets = _float32(logits, targets)
    weights = jnp.where(targets > 0, jnp.asarray(positive_weights, jnp.float32), 1.0)
    return jnp.mean(weights * optax.sigmoid_binary_cross_entropy(logits, targets))


def focal(
    logits: jax.Array, targets: jax.Array, *, gamma: float = 2.0, alpha: float = -1.0
) -> jax.Array:
    """Focal loss (Lin et al. 2017, arXiv:1708.02002, eq. 5): pairs that are right already count little.

    `mean -a_t (1 - p_t)^gamma log p_t`, with `p_t` the score of what is true: `s(z)` if `t`, else `1 - s(z)`. The paper
    divides by the number of its positive anchors; here the mean is over all pairs.

    Args:
      logits, targets: as `bce`.
      gamma: 0 or more; 0 is `bce` (times `a_t`).
      alpha: `a_t` is `alpha` of positives and `1 - alpha` of negatives (the paper: 0.25); below 0, 1 of both.
    """
    logits, targets = _float32(logits, targets)
    return jnp.mean(
        optax.sigmoid_focal_loss(logits, targets, gamma=gamma, alpha=alpha if alpha >= 0 else None)
    )


def asymmetric(
    logits: jax.Array,
    targets: jax.Array,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    clip: float = 0.05,
) -> jax.Array:
    """Asymmetric loss (Ridnik et al. 2021, arXiv:2009.14119): focal with an exponent for either side.

    `mean -(t (1 - p)^g+ log p + (1 - t) p_m^g- log(1 - p_m))`, with `p = s(z)` and `p_m = max(p - clip, 0)`: negatives
    that score below `clip` count nothing, and for a negative whose score nears 1, taken to be mislabelled, the gradient
    goes to 0. The authors' code sums over the batch, lets no score of a positive fall below 1e-8, and by default takes
    the two powers as constants in the gradient; the paper and this function differentiate them.

    Args:
      logits, targets: as `bce`.
      gamma_positive, gamma_negative: 0 or more.
      clip: 0 to below 1.
    """
    logits, targets = _float32(logits, targets)
    log_p, log_q = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    positive = jnp.exp(gamma_positive * log_q) * -log_p
    if clip > 0:
        # At most 1 - clip: its logarithm is safe. At 0 a power below 1 is infinitely steep: relu's gradient, which
        # selects, keeps that out.
        shifted = jax.nn.relu(jax.nn.sigmoid(logits) - clip)
        negative = shifted**gamma_negative * -jnp.log1p(-shifted)
    else:
        negative = jnp.exp(gamma_negative * log_p) * -log_q
    return jnp.mean(targets * positive + (1 - targets) * negative)


def lovasz(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Symmetric Lovasz hinge (Yu & Blaschko 2015, arXiv:1512.07797; Berman et al. 2018, arXiv:1705.08790).

    For a label, `e_i = 1 - (2 t_i - 1) z_i` are the hinge errors of the batch's fields, and `D(S)` is the Jaccard loss
    when the fields `S` are wrong: `1 - |P - S| / |P | S|`, `P` the positives. Its Lovasz extension at `max(e, 0)` is
    `sum_k max(e_(k), 0) (D(S_k) - D(S_k-1))`, errors in falling order and `S_k` the first `k`. Symmetric: the mean of
    this and of the same with positives and negatives exchanged, as the winners of the challenge used it, label by label
    (CellProfiling/HPA-competition-solutions, bestfitting). Both have the same errors: one sort serves both.

    Mean over the labels, each over the whole batch. It is 0 where all margins are 1 or more, and has no bound above. Of
    a label that no field of the batch bears, the one worst negative counts fully in the first half: best summed with
    another loss. Its logits are margins, not log odds.

    Args:
      logits, targets: as `bce`.
    """
    logits, targets = _float32(logits, targets)
    errors = 1 - (2 * targets - 1) * logits
    fall, targets = jax.lax.sort((-errors, targets), dimension=0, num_keys=1)
    increments = _jaccard_increments(targets) + _jaccard_increments(1 - targets)
    return jnp.mean(jnp.sum(jax.nn.relu(-fall) * increments, axis=0)) / 2


def _jaccard_increments(targets: jax.Array) -> jax.Array:
    """By how much the Jaccard loss grows with the k-th field that is wrong: targets `[B, L]` in that order, the same.

    The union never is empty: the first field is either a positive or a false one.
    """
    positives = jnp.sum(targets, axis=0)
    jaccard = 1 - (positives - jnp.cumsum(targets, axis=0)) / (
        positives + jnp.cumsum(1 - targets, axis=0)
    )
    return jnp.diff(jaccard, axis=0, prepend=0.0)


def soft_f1(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """One minus macro F1, with scores for decisions (Benedict et al. 2021, arXiv:2108.10566, with slope 1, offset 0).

    `mean_l (1 - 2 sum_i s(z_il) t_il / (sum_i s(z_il) + sum_i t_il))`, sums over the batch. At scores of 0 and 1 this
    is one minus the batch's macro F1, labels without positives counted as 0. Such a label adds 1 and pulls nothing:
    its false positives cost nothing in batches without it, so sum this with another loss.

    Args:
      logits, targets: as `bce`.
    """
    logits, targets = _float32(logits, targets)
    scores = jax.nn.sigmoid(logits)
    both = jnp.sum(scores, axis=0) + jnp.sum(targets, axis=0)
    # below 1 only where a label has no positives, and then the numerator is 0
    return jnp.mean(1 - 2 * jnp.sum(scores * targets, axis=0) / jnp.maximum(both, 1e-6))


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


def make_loss(
    terms: str, settings: LossSettings = LossSettings(), positive_weights: np.ndarray | None = None
) -> LossFunction:
    """A loss, or a weighted sum of losses.

    Args:
      terms: "NAME" or "NAME:WEIGHT" (default 1), several separated by commas: "focal:0.5,lovasz:0.5".
      settings: of each loss; any object with the fields of LossSettings (`config.loss` is one).
      positive_weights: float `[L]`, which `weighted` needs.

    Returns:
      A function of logits `[B, L]` and targets `[B, L]` that gives a float32 scalar.

    Raises:
      InputError: an unknown name, a name twice, or a weight that is no number above 0.
      ValueError: `weighted` without `positive_weights`.
    """
    weights = parse_terms(terms)
    if "weighted" in weights and positive_weights is None:
        raise ValueError("the loss 'weighted' needs positive_weights")
    options = {
        "weighted": {"positive_weights": positive_weights},
        "focal": {"gamma": settings.focal_gamma, "alpha": settings.focal_alpha},
        "asymmetric": {
            "gamma_positive": settings.asymmetric_gamma_positive,
            "gamma_negative": settings.asymmetric_gamma_negative,
            "clip": settings.asymmetric_clip,
        },
    }

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return sum(
            w * LOSSES[name](logits, targets, **options.get(name, {}))
            for name, w in weights.items()
        )

    return loss


def parse_terms(terms: str) -> dict[str, float]:
    """The weight of each loss in "NAME" or "NAME:WEIGHT", separated by commas.

    Raises:
      InputError: as `make_loss`.
    """
    weights = {}
    for term in terms.split(","):
        name, colon, number = (part.strip() for part in term.partition(":"))
        if name not in LOSSES:
            raise InputError(
                f"config.train.loss={terms!r}: {name!r} is unknown; choose of {', '.join(LOSSES)}, "
                "each NAME or NAME:WEIGHT, separated by commas"
            )
        if name in weights:
            raise InputError(f"config.train.loss={terms!r} has {name!r} twice; add up its weights")
        try:
            weights[name] = float(number) if colon else 1.0
        except ValueError:
            weights[name] = math.nan
        if not 0 < weights[name] < math.inf:
            raise InputError(
                f"config.train.loss={terms!r}: the weight {number!r} of {name!r} is no number above 0"
            )
    return weights


def positive_weights(targets: np.ndarray, power: float, limit: float) -> np.ndarray:
    """How often a positive of each label counts in `weighted`: `(negatives / positives)^power`, 1 / limit to limit.

    Args:
      targets: 0/1 `[N, L]`, of the fields to train on.
      power: 0: all 1; 1: positives and negatives of a label weigh the same together; 0.5 lies between.
      limit: 1 or more; what a label without positives gets.

    Returns:
      float32 `[L]`.
    """
    positives = np.sum(targets, axis=0, dtype=np.float64)
    with np.errstate(divide="ignore"):
        ratio = (len(targets) - positives) / positives
    return np.clip(ratio**power, 1 / limit, limit).astype(np.float32)
