"""From a configuration to the parts of a run: the one place where its fields become arguments of plain functions."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from hpa_jax import pretrained
from hpa_jax.config import Config
from hpa_jax.data import sampler
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.data.sampler import Order
from hpa_jax.errors import InputError
from hpa_jax.models import (
    Classifier,
    check_size,
    create_model,
    init_variables,
    prior_bias,
    split_multiple,
)
from hpa_jax.optim.losses import make_loss, parse_terms, positive_weights
from hpa_jax.optim.optimizer import make_optimizer, make_schedule
from hpa_jax.parallel.chips import chip_of
from hpa_jax.parallel.mesh import batch_sharding, mesh_for, put_replicated, replicated
from hpa_jax.tracking.throughput import Utilization, bytes_accessed, training_flops
from hpa_jax.training.state import TrainState, new_state
from hpa_jax.training.steps import make_statistics_step, make_train_step
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_mix import parse_channel_mix


def make_model(config: Config, mesh: Mesh | None = None) -> Classifier:
    """The net of a configuration, in its plain form; for a training step on `mesh`, in that of config.model.block."""
    m, block = config.model, {}
    if mesh is not None:
        block = {"block": m.block, "mesh": mesh}
    labels, numbers = (
        len(config.label_ids()),
        {"dropout": m.dropout, "momentum": m.bn_momentum, "dtype": m.dtype},
    )
    return create_model(m.name, head=m.head, num_labels=labels, tile=m.tile, **numbers, **block)


def make_mesh(config: Config) -> Mesh:
    """The mesh of this run's devices; `config.data.image_size` is resolved.

    Raises:
      InputError: they cannot share its batches, or its images.
    """
    data, m = config.data, config.model
    mesh = mesh_for(data.batch_size, data.image_size, split_multiple(m.name), config.devices.space)
    if m.tile and mesh.shape["space"] > 1:
        raise InputError(
            f"config.model.tile={m.tile} takes whole fields, and config.devices.space={mesh.shape['space']} cuts their "
            f"height; choose a config.data.batch_size that is a multiple of {mesh.size}, or config.model.tile=0"
        )
    return mesh


def total_steps(config: Config, order: Order) -> int:
    """Length of the run in steps."""
    steps = config.train.steps or round(
        config.train.epochs * order.epoch_length / config.data.batch_size
    )
    return max(1, steps)


def total_updates(config: Config, steps: int) -> int:
    """Updates of the weights in so many steps; what the last steps gather without completing one is lost."""
    return max(1, steps // config.optim.accumulate)


def initial_variables(config: Config, fields: ConcatDataset | None = None) -> dict:
    """A net's first `{'params', 'batch_stats'}`, drawn on the host.

    `fields`, those to train on, give the scores their starting values where the configuration wants that.

    Raises:
      InputError: the net does not take images of this size.
    """
    model, size = make_model(config), config.data.image_size
    image_shape = (size, size, len(parse_channel_mix(config.data.channel_mix)))
    check_size(model, image_shape)
    variables = init_variables(model, image_shape, config.train.seed)
    if fields is not None and config.train.prior_bias:
        variables["params"]["head"]["logits"]["bias"] = prior_bias(fields.targets().mean(0))
    return variables


def pretrained_variables(
    config: Config, fields: ConcatDataset | None = None
) -> tuple[dict, pretrained.Loaded]:
    """The same with what `config.model.pretrained` holds in place of what was drawn, and what that was.

    Raises:
      InputError: it cannot be had, or is of another net.
    """
    m, variables = config.model, initial_variables(config, fields)
    return pretrained.load_described(m.pretrained, net=m.name, variables=variables, stem=m.stem)


def make_learning_rate(config: Config, steps: int) -> Callable[[int], float]:
    """The schedule's rate of each step (from 0), on the host; without what a plateau makes of it."""
    schedule, o = (
        jax.jit(_schedule(config, steps)),
        config.optim,
    )  # op by op it would be some forty programs
    return lambda step: float(schedule(step // o.accumulate))


def initial_state(
    config: Config,
    mesh: Mesh,
    steps: int,
    fields: ConcatDataset | None = None,
    variables: dict | None = None,
) -> tuple[TrainState, optax.GradientTransformation]:
    """The state before the first step, on every device of the mesh, and the optimiser that advances it.

    Args:
      steps: of the run.
      fields: those to train on, or None.
      variables: to start from; None: `initial_variables`.
    """
    optimizer = _optimizer(config, steps)
    variables = initial_variables(config, fields) if variables is None else variables
    state = _new_state(config, optimizer, variables)
    return put_replicated(state, mesh), optimizer


def abstract_state(
    config: Config, mesh: Mesh, steps: int
) -> tuple[TrainState, optax.GradientTransformation]:
    """The same without any numbers: shapes, types and shardings, for a mesh of devices that need not be there.

    Args:
      steps: of the run; 0 where no step is to be taken: the schedule is then of no matter.

    Raises:
      InputError: the net does not take images of this size.
    """
    model, size, optimizer = make_model(config), config.data.image_size, _optimizer(config, steps)
    image_shape = (size, size, len(parse_channel_mix(config.data.channel_mix)))
    check_size(model, image_shape)

    def begin():
        image = jnp.zeros((1, *image_shape), jnp.float32)
        variables = {"batch_stats": {}} | model.init(jax.random.key(0), image, train=False)
        return _new_state(config, optimizer, variables)

    whole = replicated(mesh)
    state = jax.eval_shape(begin)
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), state
    ), optimizer


def _optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    o = config.optim
    return make_optimizer(
        o.name,
        _schedule(config, steps) if steps else optax.constant_schedule(o.lr),
        b1=o.b1,
        b2=o.b2,
        eps=o.eps,
        weight_decay=o.weight_decay,
        clip=o.clip,
        accumulate=o.accumulate,
        backbone_lr=o.backbone_lr,
        freeze_backbone=o.freeze_backbone,
    )


def _new_state(
    config: Config, optimizer: optax.GradientTransformation, variables: dict
) -> TrainState:
    watched = config.optim.plateau_patience > 0 or config.train.stop_after > 0
    return new_state(variables, optimizer, average=config.train.ema > 0, progress=watched)


def _schedule(config: Config, steps: int) -> optax.Schedule:
    o = config.optim
    return make_schedule(o.schedule, o.lr, total_updates(config, steps), o.schedule_options)


def make_statistics(config: Config, mesh: Mesh | None = None) -> Callable:
    """The function that finds a batch's own statistics for given weights, not jitted (steps.make_statistics_step)."""
    bare = dataclasses.replace(config.model, dropout=0.0, bn_momentum=0.0)
    model = make_model(dataclasses.replace(config, model=bare))
    preparation = normalize.preparation_by_source(config.data)
    return make_statistics_step(model, preparation=preparation, mesh=mesh)


def make_step(
    config: Config,
    optimizer: optax.GradientTransformation,
    fields: ConcatDataset | None = None,
    mesh: Mesh | None = None,
) -> Callable:
    """The training step of this configuration, not jitted; `fields`, those to train on, say which labels are rare.

    Where the mesh has several devices along `space`, the step cuts the height of images over them.
    """
    a = config.augment
    only_labels = None
    if a.only_rare and fields is not None:
        only_labels = tuple(
            np.flatnonzero(sampler.rare_labels(fields.targets(), config.data.rare_below)).tolist()
        )
    return make_train_step(
        make_model(config, mesh),
        optimizer,
        _loss(config, fields),
        seed=config.train.seed,
        augmentation={
            "flips": a.flips,
            "rotate_degrees": a.rotate_degrees,
            "scale": tuple(a.scale),
            "shift": a.shift,
            "channel_dropout": a.channel_dropout,
        },
        preparation=normalize.preparation_by_source(config.data),
        only_labels=only_labels,
        average_decay=config.train.ema,
        mesh=mesh,
    )


def abstract_batch(
    config: Config, fields: ConcatDataset, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
    """What a training step takes of each batch: shapes, types and shardings, without any data."""
    size, labels = config.data.batch_size, len(config.label_ids())
    arrays = {
        "image": ((size, *fields.image_shape), np.uint8),
        "targets": ((size, labels), np.uint8),
    }
    arrays["source"] = ((size,), np.int32)
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh))
        for name, (shape, dtype) in arrays.items()
    }


def make_utilisation(
    config: Config, mesh: Mesh, program: jax.stages.Compiled, state: TrainState
) -> Utilization:
    """What the compiled training step, with which such a state advances, gets out of the chips of `mesh`."""
    chip = chip_of(mesh.devices.flat[0].device_kind)
    if chip is None:
        return Utilization(None, mesh.size, 0.0, 0.0)
    plain, size = make_model(config), config.data.image_size
    image = jax.ShapeDtypeStruct(
        (1, size, size, len(parse_channel_mix(config.data.channel_mix))), np.float32
    )
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    flops = training_flops(
        lambda variables, images: plain.apply(variables, images, train=False), variables, image
    )
    # Of a loop over tiles the compiler counts one turn: nothing is said then, rather than too little.
    return Utilization(
        chip, mesh.size, flops, 0.0 if config.model.tile else bytes_accessed(program)
    )


def _loss(config: Config, fields: ConcatDataset | None) -> Callable:
    settings = config.loss
    options = {
        "focal": {"gamma": settings.focal_gamma, "alpha": settings.focal_alpha},
        "asymmetric": {
            "gamma_positive": settings.asymmetric_gamma_positive,
            "gamma_negative": settings.asymmetric_gamma_negative,
            "clip": settings.asymmetric_clip,
        },
    }
    if "weighted" in parse_terms(config.train.loss):
        targets = (
            np.eye(len(config.label_ids()), dtype=np.uint8) if fields is None else fields.targets()
        )
        weights = positive_weights(targets, settings.positive_power, settings.positive_limit)
        options["weighted"] = {"positive_weights": weights}
    return make_loss(config.train.loss, options)
