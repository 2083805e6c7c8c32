"""Fits the net on one embedding: training rows fit it, validation rows choose its epoch.

An epoch is one jitted program over batches of one shape; the host ranks the validation scores
between epochs. A seed decides first weights, order and dropout, so that a fit on one kind of device
is the same each time.

Notes:
- Labels without a positive in the validation rows are left out of the score that chooses an epoch.
  scikit-learn, with which the protocol computes it, counts them as 0, which scales every epoch's
  score alike: the same epoch is chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpa_jax.errors import InputError
from hpa_jax.metrics.classification import mean_of_defined
from hpa_jax.metrics.ranking import average_precision
from hpa_jax.probe import protocol
from hpa_jax.probe.mlp import Layers, init_layers, logits_of, training_logits_of
from hpa_jax.probe.schedule import Schedule

_SCORED_AT_ONCE = 8192

_OPTIMIZER = optax.chain(
    optax.scale_by_adam(b1=protocol.B1, b2=protocol.B2, eps=protocol.EPS),
    optax.add_decayed_weights(protocol.WEIGHT_DECAY),
)


@dataclass(frozen=True)
class Fit:
    """A fitted net.

    Attributes:
      layers: of the epoch with the best validation score.
      epoch: that one, from 1.
      epochs: how many there were.
      updates: steps of the optimizer in all of them.
      validation_score: macro average precision of that epoch on the validation rows.
    """

    layers: Layers
    epoch: int
    epochs: int
    updates: int
    validation_score: float


def fit(
    features: np.ndarray,
    targets: np.ndarray,
    validation_features: np.ndarray,
    validation_targets: np.ndarray,
    *,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    seed: int,
    dropout: float = protocol.DROPOUT,
    after_epoch: Callable[[float], None] = lambda score: None,
) -> Fit:
    """Fits the net.

    Args:
      features: float32 `[N, F]` of the training rows.
      targets: 0/1 `[N, L]`.
      validation_features: float32 `[M, F]`.
      validation_targets: 0/1 `[M, L]`, one positive at least.
      learning_rate: of the first epoch.
      batch_size: rows a step; the last step of an epoch has what is left.
      epochs: at most so many.
      seed: of first weights, order and dropout.
      dropout: fraction of each hidden layer.
      after_epoch: is told each epoch's validation score.

    Raises:
      InputError: the fit diverges.
    """
    rows = len(features)
    layers = init_layers(features.shape[1], targets.shape[1], seed)
    opt_state = _OPTIMIZER.init(layers)
    on_device = jax.device_put((features, targets.astype(np.float32)))
    validation_on_device = jax.device_put(validation_features)
    schedule = Schedule(learning_rate)
    best_layers = layers
    best_epoch = 0
    epoch = 0
    while epoch < epochs and not schedule.has_ended():
        epoch += 1
        order, mask = epoch_order(rows, batch_size, [seed, epoch])
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        rate = np.float32(schedule.learning_rate)
        layers, opt_state = run_epoch(
            dropout, layers, opt_state, rate, key, *on_device, order, mask
        )
        scores = scores_of(layers, validation_on_device)
        if not np.isfinite(scores).all():
            raise InputError(
                f"the probe's scores are not finite after epoch {epoch}: lower config.probe.lr="
                f"{learning_rate:g}"
            )
        score = macro_average_precision(scores, validation_targets)
        after_epoch(score)
        if schedule.after_epoch(score):
            best_layers = layers
            best_epoch = epoch
    return Fit(
        layers=best_layers,
        epoch=best_epoch,
        epochs=epoch,
        updates=epoch * -(-rows // batch_size),
        validation_score=schedule.best,
    )


def scores_of(layers: Layers, features: np.ndarray | jax.Array) -> np.ndarray:
    """The probability of each label: float32 `[N, L]` of features float32 `[N, F]`."""
    scores = [np.zeros((0, len(layers[-1]["bias"])), np.float32)]
    for start in range(0, len(features), _SCORED_AT_ONCE):
        scores.append(np.asarray(_score(layers, features[start : start + _SCORED_AT_ONCE])))
    return np.concatenate(scores)


@jax.jit
def _score(layers: Layers, features: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(logits_of(layers, features))


def macro_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """The mean over the labels that have a positive; NaN where none has."""
    by_label = []
    for label in range(targets.shape[1]):
        by_label.append(average_precision(scores[:, label], targets[:, label]))
    return float(mean_of_defined(np.array(by_label)))


def epoch_order(rows: int, batch_size: int, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each step of an epoch, each row once.

    Args:
      rows: their number.
      batch_size: of a step.
      seed: of the order.

    Returns:
      int32 `[steps, b]`, positions, and float32 `[steps, b]`, 0 where a place is padding.
    """
    batch_size = min(batch_size, rows)
    steps = -(-rows // batch_size)
    order = np.zeros(steps * batch_size, np.int32)
    mask = np.zeros(steps * batch_size, np.float32)
    order[:rows] = np.random.default_rng(seed).permutation(rows)
    mask[:rows] = 1
    return order.reshape(steps, batch_size), mask.reshape(steps, batch_size)


def focal_loss(logits: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """The protocol's sigmoid focal loss, the mean over all labels of the rows that count.

    Args:
      logits: float32 `[B, L]`.
      targets: 0/1 `[B, L]`.
      mask: float32 `[B]`, 1 for rows that count, else 0.
    """
    pairs = optax.sigmoid_focal_loss(
        logits, targets, alpha=protocol.FOCAL_ALPHA, gamma=protocol.FOCAL_GAMMA
    )
    return jnp.sum(pairs * mask[:, None]) / (jnp.sum(mask) * logits.shape[1])


@partial(jax.jit, static_argnums=0)
def run_epoch(
    dropout: float,
    layers: Layers,
    opt_state: optax.OptState,
    learning_rate: jax.Array,
    key: jax.Array,
    features: jax.Array,
    targets: jax.Array,
    order: jax.Array,
    mask: jax.Array,
) -> tuple[Layers, optax.OptState]:
    """One pass over the rows.

    Args:
      dropout: fraction of each hidden layer.
      layers: of the net.
      opt_state: of the optimizer.
      learning_rate: float32 scalar.
      key: of the dropout.
      features: float32 `[N, F]`.
      targets: float32 0/1 `[N, L]`.
      order, mask: of `epoch_order`.

    Returns:
      The next layers and state.
    """

    def loss_of(layers: Layers, rows: jax.Array, mask: jax.Array, key: jax.Array) -> jax.Array:
        logits = training_logits_of(layers, features[rows], key, dropout)
        return focal_loss(logits, targets[rows], mask)

    def step(carry, batch):
        layers, opt_state = carry
        number, rows, mask = batch
        gradients = jax.grad(loss_of)(layers, rows, mask, jax.random.fold_in(key, number))
        updates, opt_state = _OPTIMIZER.update(gradients, opt_state, layers)
        updates = jax.tree.map(lambda update: -learning_rate * update, updates)
        return (optax.apply_updates(layers, updates), opt_state), None

    batches = (jnp.arange(len(order)), order, mask)
    (layers, opt_state), _ = jax.lax.scan(step, (layers, opt_state), batches)
    return layers, opt_state
