"""Learning-rate schedules by Optax's names, and the optimiser."""

import ast
import inspect

import optax

from hpa_jax.errors import InputError

# Each of Optax's schedules, the argument that carries the peak rate, and the one that carries the length of the run.
SCHEDULES = {
    "constant": (optax.constant_schedule, "value", None),
    "linear": (optax.linear_schedule, "init_value", "transition_steps"),
    "polynomial": (optax.polynomial_schedule, "init_value", "transition_steps"),
    "exponential_decay": (optax.exponential_decay, "init_value", "transition_steps"),
    "piecewise_constant": (optax.piecewise_constant_schedule, "init_value", None),
    "piecewise_interpolate": (optax.piecewise_interpolate_schedule, None, None),
    "cosine_decay": (optax.cosine_decay_schedule, "init_value", "decay_steps"),
    "cosine_onecycle": (optax.cosine_onecycle_schedule, "peak_value", "transition_steps"),
    "linear_onecycle": (optax.linear_onecycle_schedule, "peak_value", "transition_steps"),
    "warmup_constant": (optax.warmup_constant_schedule, "peak_value", None),
    "warmup_cosine_decay": (optax.warmup_cosine_decay_schedule, "peak_value", "decay_steps"),
    "warmup_exponential_decay": (optax.warmup_exponential_decay_schedule, "peak_value", "transition_steps"),
    "sgdr": (optax.sgdr_schedule, None, None),
}


def make_schedule(name: str, lr: float, total_steps: int, options: str = "{}") -> optax.Schedule:
    """An Optax schedule.

    Args:
      name: one of SCHEDULES.
      lr: its peak (or starting) rate.
      total_steps: of the run; the schedule's length unless `options` says otherwise.
      options: further arguments, by Optax's names: the text of a Python dict of literals.

    Raises:
      InputError: an unknown schedule, or options that it does not take or lacks.
    """
    if name not in SCHEDULES:
        raise InputError(f"config.optim.schedule={name!r} is unknown; choose one of {', '.join(SCHEDULES)}")
    try:
        given = dict(ast.literal_eval(options))
    except (ValueError, TypeError, SyntaxError) as error:
        raise InputError(f"config.optim.schedule_options={options!r} is no dict of literals; try '{{}}'") from error
    schedule, rate, length = SCHEDULES[name]
    arguments = {argument: value for argument, value in ((rate, lr), (length, total_steps)) if argument} | given
    if name.startswith("warmup"):
        arguments.setdefault("init_value", 0.0)
    try:
        inspect.signature(schedule).bind(**arguments)
    except TypeError as error:
        takes = ", ".join(inspect.signature(schedule).parameters)
        raise InputError(f"config.optim.schedule_options for {name!r}: {error}; it takes {takes}") from error
    return schedule(**arguments)


def make_optimizer(
    name: str, schedule: optax.Schedule, *, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
    """The optimiser: Adam (Kingma & Ba 2015, arXiv:1412.6980).

    Raises:
      InputError: an unknown name.
    """
    optimizers = {"adam": optax.adam}
    if name not in optimizers:
        raise InputError(f"config.optim.name={name!r} is unknown; choose one of {', '.join(optimizers)}")
    return optimizers[name](schedule, b1=b1, b2=b2, eps=eps)
