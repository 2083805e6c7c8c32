"""The learning rate and the end of a fit, both by the validation score of each epoch.

These are PyTorch's rules (ReduceLROnPlateau with mode "max", and the counter of the protocol),
which differ from those of `hpa_jax.optim.plateau`, Keras's: a score has to be better by a fraction,
and a patience of 4 is used up by the fifth epoch.
"""

import math

from hpa_jax.probe import protocol

# PyTorch leaves out reductions of the learning rate that are smaller.
_LEAST_REDUCTION = 1e-8


class Schedule:
    """What the validation scores so far ask for.

    Attributes:
      learning_rate: of the next epoch.
      best: the largest score so far; -inf before the first.

    Args:
      learning_rate: of the first epoch.
    """

    def __init__(self, learning_rate: float):
        self.learning_rate = learning_rate
        self.best = -math.inf
        self._stale = 0
        self._plateau_best = -math.inf
        self._waited = 0

    def after_epoch(self, score: float) -> bool:
        """Takes note of an epoch's score; returns whether it is the best, or equals it."""
        self._lower_learning_rate(score)
        if score >= self.best:
            self.best = score
            self._stale = 0
            return True
        self._stale += 1
        return False

    def has_ended(self) -> bool:
        """Whether fitting has stalled."""
        return self._stale >= protocol.STOP_AFTER

    def _lower_learning_rate(self, score: float) -> None:
        if score > self._plateau_best * (1 + protocol.PLATEAU_THRESHOLD):
            self._plateau_best = score
            self._waited = 0
            return
        self._waited += 1
        if self._waited <= protocol.PLATEAU_PATIENCE:
            return
        self._waited = 0
        lowered = self.learning_rate * protocol.PLATEAU_FACTOR
        if self.learning_rate - lowered > _LEAST_REDUCTION:
            self.learning_rate = lowered
