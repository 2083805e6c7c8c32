"""Learning-rate schedules by Optax's names, and the optimiser.

Unusual: schedules count updates, not steps: where gradients are gathered over k steps, a run of n steps has n // k.
"""

import ast
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    "warmup_exponential_decay": (
        optax.warmup_exponential_decay_schedule,
        "peak_value",
        "transition_steps",
    ),
    "sgdr": (optax.sgdr_schedule, None, None),
}


def make_schedule(name: str, lr: float, total_updates: int, options: str = "{}") -> optax.Schedule:
    """An Optax schedule.

    Args:
      name: one of SCHEDULES.
      lr: its peak (or starting) rate.
      total_updates: of the run; the schedule's length unless `options` says otherwise.
      options: further arguments, by Optax's names: the text of a Python dict of literals.

    Raises:
      InputError: an unknown schedule, or options that it does not take or lacks.
    """
    if name not in SCHEDULES:
        raise InputError(
            f"config.optim.schedule={name!r} is unknown; choose one of {', '.join(SCHEDULES)}"
        )
    try:
        given = dict(ast.literal_eval(options))
    except (ValueError, TypeError, SyntaxError) as error:
        raise InputError(
            f"config.optim.schedule_options={options!r} is no dict of literals; try '{{}}'"
        ) from error
    schedule, rate, length = SCHEDULES[name]
    arguments = {
        argument: value for argument, value in ((rate, lr), (length, total_updates)) if argument
    } | given
    if name.startswith("warmup"):
        arguments.setdefault("init_value", 0.0)
    warmup = arguments.get("warmup_steps")
    if name == "warmup_cosine_decay" and length not in given and isinstance(warmup, int):
        arguments[length] = max(
            total_updates, warmup + 1
        )  # a run shorter than its warm-up, a trial, is all warm-up
    try:
        inspect.signature(schedule).bind(**arguments)
    except TypeError as error:
        takes = ", ".join(inspect.signature(schedule).parameters)
        raise InputError(
            f"config.optim.schedule_options for {name!r}: {error}; it takes {takes}"
        ) from error
    try:
        return schedule(**arguments)
    except (ValueError, TypeError) as error:
        given = f"over {total_updates} updates with config.optim.schedule_options={options!r}"
        raise InputError(f"config.optim.schedule={name!r} {given}: {error}") from error


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
) -> optax.GradientTransformation:
    """The optimiser; every option that keeps its default adds nothing to the state or the program.

    Args:
      name: one of OPTIMIZERS.
      schedule: the rate of each update, counted from 0 whether the backbone is frozen or not.
      b1: share of the mean gradient that an update keeps; sgd's momentum.
      b2, eps: Adam's.
      weight_decay: of kernels alone (adamw): an update takes `rate * weight_decay` of each away.
      clip: the gradient, over all that learns, is scaled down to this global norm (Pascanu et al. 2013,
        arXiv:1211.5063); 0: never.
      accumulate: steps whose mean gradient makes one update. The first steps of each group move nothing.
      backbone_lr: rate of `params['backbone']`, as a share of the schedule's.
      freeze_backbone: steps at the start, rounded up to whole updates, in which `params['backbone']` does not move,
        neither by decay nor by momentum. Its own moments and their bias correction begin when it is let go.

    Raises:
      InputError: an unknown name, or a decay that it does not have.
    """
    if name not in OPTIMIZERS:
        raise InputError(
            f"config.optim.name={name!r} is unknown; choose one of {', '.join(OPTIMIZERS)}"
        )
    if weight_decay and name != "adamw":
        raise InputError(
            f"config.optim.weight_decay={weight_decay} with config.optim.name={name!r}, which has none; "
            "choose adamw, or leave it at 0"
        )
    held = -(-freeze_backbone // accumulate)
    direction = OPTIMIZERS[name](b1, b2, eps, weight_decay)
    if held:
        groups = {"backbone": optax.chain(*direction), "head": optax.chain(*direction)}
        groups["backbone"] = _held(groups["backbone"], held)
        direction = (optax.partition(groups, _group_of),)
    parts = (
        *((_without_backbone(held),) if held else ()),
        *((optax.clip_by_global_norm(clip),) if clip else ()),
        *direction,
        optax.scale_by_learning_rate(schedule),
        *((_scale_backbone(backbone_lr),) if backbone_lr != 1 else ()),
    )
    optimizer = optax.chain(*parts)
    return (
        optax.MultiSteps(optimizer, accumulate).gradient_transformation()
        if accumulate > 1
        else optimizer
    )


def completes_update(opt_state: optax.OptState) -> jax.Array | bool:
    """Whether the step that left `opt_state` moved the weights: every one does, but for those that accumulate."""
    return opt_state.mini_step == 0 if isinstance(opt_state, optax.MultiStepsState) else True


def _adam(b1: float, b2: float, eps: float, weight_decay: float) -> tuple:
    """Kingma & Ba 2015, arXiv:1412.6980."""
    return (optax.scale_by_adam(b1, b2, eps),)


def _adamw(b1: float, b2: float, eps: float, weight_decay: float) -> tuple:
    """Loshchilov & Hutter 2019, arXiv:1711.05101, the decay scaled by the rate, as PyTorch's."""
    return (optax.scale_by_adam(b1, b2, eps), optax.add_decayed_weights(weight_decay, _kernels))


def _sgd(b1: float, b2: float, eps: float, weight_decay: float) -> tuple:
    """Nesterov's momentum in the form of Sutskever et al. 2013, as PyTorch's and Keras's."""
    return (optax.trace(b1, nesterov=True),)


OPTIMIZERS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}


def _kernels(params: dict) -> dict:
    """True for kernels: a decay of scales and biases would undo what batch norm and the prior have set."""
    return jax.tree.map_with_path(lambda path, _: any(key.key == "kernel" for key in path), params)


def _group_of(params: dict) -> dict:
    """The name of each parameter's group, in the shape of `params`."""
    heads = jax.tree.map(lambda _: "head", params)
    return _on_backbone(heads, lambda _: "backbone")


def _scale_backbone(share: float) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, _: _on_backbone(updates, lambda update: share * update))


def _on_backbone(tree: dict, function: Callable) -> dict:
    return tree | {"backbone": jax.tree.map(function, tree["backbone"])}


class _Held(NamedTuple):
    count: jax.Array  # int32, updates so far
    inner: optax.OptState


def _held(inner: optax.GradientTransformation, updates_held: int) -> optax.GradientTransformation:
    """`inner`, which neither moves anything nor changes its state in the first updates."""

    def init(params):
        return _Held(jnp.zeros((), jnp.int32), inner.init(params))

    def update(gradients, state, params=None):
        free = state.count >= updates_held
        updates, moved = inner.update(gradients, state.inner, params)
        updates = jax.tree.map(lambda u: jnp.where(free, u, jnp.zeros_like(u)), updates)
        kept = jax.tree.map(lambda new, old: jnp.where(free, new, old), moved, state.inner)
        return updates, _Held(optax.safe_increment(state.count), kept)

    return optax.GradientTransformation(init, update)


def _without_backbone(updates_held: int) -> optax.GradientTransformation:
    """No gradient of the backbone in the first updates, so that clipping sees that of the head alone."""

    def update(gradients, count, params=None):
        free = count >= updates_held
        gradients = _on_backbone(gradients, lambda g: jnp.where(free, g, jnp.zeros_like(g)))
        return gradients, optax.safe_increment(count)

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
