"""Learning-rate schedules by Optax's names, and the optimizers.

`OPTIMIZERS` has the algorithms that `config.optim.name` chooses from:

| name | update | source |
| --- | --- | --- |
| `adam` | moments of the gradient, bias-corrected | Kingma & Ba 2015, arXiv:1412.6980 |
| `adamw` | Adam with decoupled weight decay of kernels | Loshchilov & Hutter, arXiv:1711.05101 |
| `sgd` | Nesterov momentum `b1` | Sutskever et al. 2013, as in PyTorch and Keras |

To add one, write a function of `(b1, b2, eps, weight_decay)` that returns a tuple of Optax
transformations, and add it to `OPTIMIZERS`. Schedules are added to `SCHEDULES`.

Notes:
- Schedules count updates, not steps: where gradients are accumulated over k steps, a run of n
  steps has n // k updates.
- Optimizers see parameters as `hpa_jax.optim.packing.pack` joins them, a dict with the members
  `backbone` and `head`; they work on the plain tree as well.
"""

import ast
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from hpa_jax.errors import InputError


class Schedule(NamedTuple):
    """A schedule of Optax, and which of its arguments a run fills in.

    Attributes:
      make: Optax's function.
      peak: the argument that takes the peak (or first) learning rate; None: there is none.
      length: the argument that takes the number of updates; None: there is none.
    """

    make: Callable[..., optax.Schedule]
    peak: str | None = None
    length: str | None = None


SCHEDULES = {
    "constant": Schedule(optax.constant_schedule, "value"),
    "linear": Schedule(optax.linear_schedule, "init_value", "transition_steps"),
    "polynomial": Schedule(optax.polynomial_schedule, "init_value", "transition_steps"),
    "exponential_decay": Schedule(optax.exponential_decay, "init_value", "transition_steps"),
    "piecewise_constant": Schedule(optax.piecewise_constant_schedule, "init_value"),
    "piecewise_interpolate": Schedule(optax.piecewise_interpolate_schedule),
    "cosine_decay": Schedule(optax.cosine_decay_schedule, "init_value", "decay_steps"),
    "cosine_onecycle": Schedule(optax.cosine_onecycle_schedule, "peak_value", "transition_steps"),
    "linear_onecycle": Schedule(optax.linear_onecycle_schedule, "peak_value", "transition_steps"),
    "warmup_constant": Schedule(optax.warmup_constant_schedule, "peak_value"),
    "warmup_cosine_decay": Schedule(
        optax.warmup_cosine_decay_schedule, "peak_value", "decay_steps"
    ),
    "warmup_exponential_decay": Schedule(
        optax.warmup_exponential_decay_schedule, "peak_value", "transition_steps"
    ),
    "sgdr": Schedule(optax.sgdr_schedule),
}


WARMUP_DIVISOR = 20
"""A warm-up of which `schedule_options` says nothing is a twentieth of the run."""


def make_schedule(name: str, lr: float, total_updates: int, options: str = "{}") -> optax.Schedule:
    """Makes one of Optax's learning-rate schedules.

    Args:
      name: one of SCHEDULES.
      lr: the peak (or first) learning rate.
      total_updates: updates of the run; the schedule's length unless `options` says otherwise.
      options: further arguments, by Optax's names: the text of a Python dict of literals. Without
        `warmup_steps` a schedule that warms up does so for a twentieth of its updates.

    Returns:
      A function of the number of updates done to the learning rate of the next one.

    Raises:
      InputError: an unknown schedule, or options that it does not take or lacks.
    """
    if name not in SCHEDULES:
        raise InputError(
            f"config.optim.schedule={name!r} is unknown; choose one of {', '.join(SCHEDULES)}"
        )
    schedule = SCHEDULES[name]
    given = _parse_options(options)
    arguments = {}
    if schedule.peak:
        arguments[schedule.peak] = lr
    if schedule.length:
        arguments[schedule.length] = total_updates
    arguments |= given
    if name.startswith("warmup"):
        arguments.setdefault("init_value", 0.0)
        arguments.setdefault("warmup_steps", max(1, total_updates // WARMUP_DIVISOR))
    warmup = arguments.get("warmup_steps")
    length_is_ours = schedule.length not in given
    if name == "warmup_cosine_decay" and length_is_ours and isinstance(warmup, int):
        # A run that is shorter than its warm-up, such as a trial, is all warm-up.
        arguments[schedule.length] = max(total_updates, warmup + 1)
    # Before the call, whose own errors do not name the arguments that it takes.
    try:
        inspect.signature(schedule.make).bind(**arguments)
    except TypeError as error:
        accepted = ", ".join(inspect.signature(schedule.make).parameters)
        raise InputError(
            f"config.optim.schedule_options for {name!r}: {error}; it takes {accepted}"
        ) from error
    try:
        return schedule.make(**arguments)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"config.optim.schedule={name!r} over {total_updates} updates with "
            f"config.optim.schedule_options={options!r}: {error}"
        ) from error


def _parse_options(text: str) -> dict:
    try:
        return dict(ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError) as error:
        raise InputError(
            f"config.optim.schedule_options={text!r} is not a dict of literals; try '{{}}'"
        ) from error


def make_optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float = 0.0,
    clip: float = 0.0,
    accumulate: int = 1,
    backbone_lr: float = 1.0,
    freeze_backbone: int = 0,
    only_head: bool = False,
) -> optax.GradientTransformation:
    """Makes the optimizer; an option at its default adds nothing to the state or the program.

    Args:
      name: one of OPTIMIZERS.
      schedule: the learning rate of each update, counted from 0 whether the backbone is frozen or
        not.
      b1: decay of the mean gradient; the momentum of sgd.
      b2: decay of the mean squared gradient (adam, adamw).
      eps: added to the denominator (adam, adamw).
      weight_decay: of kernels alone (adamw): an update subtracts `learning rate * weight_decay` of
        each.
      clip: the gradient, over all parameters that learn, is scaled down to this global norm
        (Pascanu et al. 2013, arXiv:1211.5063); 0: never.
      accumulate: steps whose mean gradient makes one update. The steps before the last of them
        move nothing.
      backbone_lr: learning rate of `params['backbone']`, as a fraction of the schedule's.
      freeze_backbone: steps at the start, rounded up to full updates, in which
        `params['backbone']` does not move, neither by decay nor by momentum. Its own moments and
        their bias correction start when it is released.
      only_head: `params['backbone']` never moves, and the state has nothing for it.

    Returns:
      An Optax transformation of gradients with the members `backbone` and `head`.

    Raises:
      InputError: an unknown name, or a weight decay that the optimizer does not have.
    """
    if name not in OPTIMIZERS:
        raise InputError(
            f"config.optim.name={name!r} is unknown; choose one of {', '.join(OPTIMIZERS)}"
        )
    if weight_decay and name != "adamw":
        raise InputError(
            f"config.optim.weight_decay={weight_decay} with config.optim.name={name!r}, "
            "which has none; choose adamw, or leave it at 0"
        )
    algorithm = OPTIMIZERS[name](b1, b2, eps, weight_decay)
    # Divided rounding up: an update that gathers a frozen step is frozen.
    frozen_updates = -(-freeze_backbone // accumulate)
    parts = []
    if frozen_updates:
        parts.append(_drop_backbone_gradients(frozen_updates))
    if clip:
        parts.append(optax.clip_by_global_norm(clip))
    if only_head:
        learners = {"backbone": optax.set_to_zero(), "head": optax.chain(*algorithm)}
        parts.append(optax.partition(learners, _partition_of))
    elif frozen_updates:
        # Moments of their own, so that the bias correction of the backbone's starts at its
        # release.
        head = optax.chain(*algorithm)
        backbone = _freeze(optax.chain(*algorithm), frozen_updates)
        parts.append(optax.partition({"backbone": backbone, "head": head}, _partition_of))
    else:
        parts.extend(algorithm)
    # Outside of what is frozen, so that the schedule advances for all parameters.
    parts.append(optax.scale_by_learning_rate(schedule))
    if backbone_lr != 1:
        parts.append(_scale_backbone(backbone_lr))
    optimizer = optax.chain(*parts)
    if accumulate == 1:
        return optimizer
    return optax.MultiSteps(optimizer, accumulate).gradient_transformation()


def completes_update(opt_state: optax.OptState) -> jax.Array | bool:
    """Whether the step that left `opt_state` moved the weights.

    Every step does, except those that only accumulate gradients.
    """
    if isinstance(opt_state, optax.MultiStepsState):
        return opt_state.mini_step == 0
    return True


def _adam(b1: float, b2: float, eps: float, weight_decay: float) -> tuple:
    return (optax.scale_by_adam(b1, b2, eps),)


def _adamw(b1: float, b2: float, eps: float, weight_decay: float) -> tuple:
    """The decay is scaled by the learning rate, as in PyTorch."""
    return (
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, _is_kernel),
    )


def _sgd(b1: float, b2: float, eps: float, weight_decay: float) -> tuple:
    return (optax.trace(b1, nesterov=True),)


OPTIMIZERS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}


def _is_kernel(params: dict) -> dict:
    """True for kernels: decay of scales and biases would undo what batch norm and the prior set."""

    def below_kernel(path, _):
        return any(key.key == "kernel" for key in path)

    return jax.tree.map_with_path(below_kernel, params)


def _partition_of(params: dict) -> dict:
    """The partition of each parameter, `backbone` or `head`, in the structure of `params`."""
    heads = jax.tree.map(lambda _: "head", params)
    return _map_backbone(lambda _: "backbone", heads)


def _scale_backbone(factor: float) -> optax.GradientTransformation:
    def scale(updates, params):
        return _map_backbone(lambda update: factor * update, updates)

    return optax.stateless(scale)


def _map_backbone(function: Callable, tree: dict) -> dict:
    return tree | {"backbone": jax.tree.map(function, tree["backbone"])}


class FreezeState(NamedTuple):
    """State of a transformation that is frozen at first.

    Attributes:
      count: int32, updates so far.
      inner: state of the transformation.
    """

    count: jax.Array
    inner: optax.OptState


def _freeze(
    inner: optax.GradientTransformation, frozen_updates: int
) -> optax.GradientTransformation:
    """Wraps `inner` so that the first updates neither move anything nor change its state.

    `optax.conditionally_mask` computes the same to the bit, but through `lax.cond`: DenseNet-121
    at 512 px, compiled for v5e:2x4 with 8 images a chip, then moves 24.4 GB a step instead of 23.7
    GB by the compiler's count. It also names the state's arrays differently, so that checkpoints
    of runs that freeze the backbone would no longer restore.
    """

    def init(params):
        return FreezeState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(gradients, state, params=None):
        released = state.count >= frozen_updates

        def select(new, old):
            return jnp.where(released, new, old)

        updates, inner_state = inner.update(gradients, state.inner, params)
        updates = jax.tree.map(lambda leaf: select(leaf, jnp.zeros_like(leaf)), updates)
        inner_state = jax.tree.map(select, inner_state, state.inner)
        return updates, FreezeState(optax.safe_increment(state.count), inner_state)

    return optax.GradientTransformation(init, update)


def _drop_backbone_gradients(frozen_updates: int) -> optax.GradientTransformation:
    """Zeroes the backbone's gradients in the first updates: clipping then sees the head's alone."""

    def init(params):
        return jnp.zeros((), jnp.int32)

    def update(gradients, count, params=None):
        released = count >= frozen_updates

        def select(gradient):
            return jnp.where(released, gradient, jnp.zeros_like(gradient))

        return _map_backbone(select, gradients), optax.safe_increment(count)

    return optax.GradientTransformation(init, update)
