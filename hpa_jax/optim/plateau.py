"""Lowers the learning rate, or ends training, when a metric has stopped improving.

Design: the metric is that of the evaluations, not the training loss, and its progress is part of
the training state, so that a run that resumes knows what the stopped one knew.
"""

import jax
import numpy as np
from flax import struct


@struct.dataclass
class Progress:
    """How the metric has developed.

    Attributes:
      best: float32, the largest value of any evaluation so far; -inf before the first one.
      stale: int32, evaluations since the best one.
      waited: int32, evaluations since the best one or since the learning rate was last lowered.
      rate_scale: float32, the factor on every update.
    """

    best: jax.Array
    stale: jax.Array
    waited: jax.Array
    rate_scale: jax.Array


def init_progress() -> Progress:
    """The progress before the first evaluation."""
    return Progress(
        best=np.float32(-np.inf),
        stale=np.int32(0),
        waited=np.int32(0),
        rate_scale=np.float32(1),
    )


def after_evaluation(
    progress: Progress, value: float, *, patience: int = 0, factor: float = 0.1
) -> Progress:
    """Updates the progress with an evaluation; an equal value is no improvement.

    Args:
      progress: before the evaluation.
      value: of the metric, the larger the better; compared in float32. NaN is never better.
      patience: evaluations without improvement after which the learning rate is multiplied by
        `factor`, and again after as many more (Keras's ReduceLROnPlateau with cooldown 0); 0:
        never.
      factor: on the learning rate.

    Returns:
      A Progress of NumPy scalars.
    """
    # The dtype that a checkpoint keeps: a run that resumes has to compare the same numbers.
    value = np.float32(value)
    scale = np.float32(progress.rate_scale)
    if value > progress.best:
        return Progress(best=value, stale=np.int32(0), waited=np.int32(0), rate_scale=scale)
    stale = np.int32(progress.stale + 1)
    waited = np.int32(progress.waited + 1)
    if patience and waited >= patience:
        waited = np.int32(0)
        scale = np.float32(scale * np.float32(factor))
    best = np.float32(progress.best)
    return Progress(best=best, stale=stale, waited=waited, rate_scale=scale)


def has_stalled(progress: Progress | None, stop_after: int) -> bool:
    """Whether `stop_after` evaluations (0: any number) have passed without improvement."""
    return progress is not None and 0 < stop_after <= int(progress.stale)
