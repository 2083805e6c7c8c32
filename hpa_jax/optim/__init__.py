"""Losses, optimizers and averages of weights: pure functions of arrays, in the style of Optax."""

from hpa_jax.optim import losses
from hpa_jax.optim.ema import EmaState, init_ema, update_ema, with_estimated_statistics
from hpa_jax.optim.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    completes_update,
    make_optimizer,
    make_schedule,
)
from hpa_jax.optim.packing import pack, unpack
from hpa_jax.optim.plateau import Progress, after_evaluation, has_stalled, init_progress

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "EmaState",
    "Progress",
    "after_evaluation",
    "completes_update",
    "has_stalled",
    "init_ema",
    "init_progress",
    "losses",
    "make_optimizer",
    "make_schedule",
    "pack",
    "unpack",
    "update_ema",
    "with_estimated_statistics",
]
