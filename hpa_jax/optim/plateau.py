"""When a run has stopped getting better: the rate is lowered, or training ends.

Unusual: the figure is that of the evaluations, not the training loss, and the struct is part of the training state, so
that a run that resumes knows what the one that was stopped knew.
"""

import jax
import numpy as np
from flax import struct


@struct.dataclass
class Progress:
    """
    Attributes:
      best: float32, the largest figure of any evaluation so far; -inf before the first one.
      stale: int32, evaluations since that one.
      waited: int32, evaluations since that one or since the rate was last lowered.
      rate_scale: float32, the factor on every update.
    """

    best: jax.Array
    stale: jax.Array
    waited: jax.Array
    rate_scale: jax.Array


def init_progress() -> Progress:
    """Before the first evaluation."""
    return Progress(np.float32(-np.inf), np.int32(0), np.int32(0), np.float32(1))


def after_evaluation(
    progress: Progress, figure: float, *, patience: int = 0, factor: float = 0.1
) -> Progress:
    """What an evaluation changes; equals are not better.

    Args:
      progress: before it.
      figure: the larger the better, compared in float32; NaN is never better.
      patience: evaluations without a better figure after which the rate is multiplied by `factor`, and again after as
        many more (Keras's ReduceLROnPlateau with cooldown 0); 0: never.
      factor: on the rate.

    Returns:
      A Progress of NumPy scalars.
    """
    figure = np.float32(figure)
    if figure > progress.best:
        return Progress(figure, np.int32(0), np.int32(0), np.float32(progress.rate_scale))
    stale, waited = np.int32(progress.stale + 1), np.int32(progress.waited + 1)
    scale = np.float32(progress.rate_scale)
    if patience and waited >= patience:
        waited, scale = np.int32(0), np.float32(scale * np.float32(factor))
    return Progress(np.float32(progress.best), stale, waited, scale)


def has_stalled(progress: Progress | None, stop_after: int) -> bool:
    """Whether `stop_after` evaluations (0: any number) have passed without a better figure."""
    return progress is not None and 0 < stop_after <= int(progress.stale)
