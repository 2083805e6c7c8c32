"""From a configuration to the parts of a run: the one place where its fields become arguments of plain functions."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from hpa_jax import pretrained, sampling
from hpa_jax.chips import chip_of
from hpa_jax.config import Config
from hpa_jax.datasets import open_fields, read_figures
from hpa_jax.errors import InputError
from hpa_jax.fields import Fields, Joined
from hpa_jax.labels import CHANNELS
from hpa_jax.losses import make_loss, parse_terms, positive_weights
from hpa_jax.mesh import by_field, mesh_for, put_replicated, replicated
from hpa_jax.mixes import parse_mix
from hpa_jax.models import Classifier, build_model, check_size, init_variables, prior_bias, split_multiple
from hpa_jax.optim import make_optimizer, make_schedule
from hpa_jax.sampling import Order
from hpa_jax.state import TrainState, new_state
from hpa_jax.steps import make_statistics_step, make_train_step
from hpa_jax.utilisation import Utilisation, bytes_accessed, training_flops


def make_model(config: Config, mesh: Mesh | None = None) -> Classifier:
    """The net of a configuration, in its plain form; for a training step on `mesh`, in that of config.model.block."""
    m, block = config.model, {}
    if mesh is not None:
        block = {"block": m.block, "mesh": mesh}
    labels, numbers = len(config.label_ids()), {"dropout": m.dropout, "momentum": m.bn_momentum, "dtype": m.dtype}
    return build_model(m.name, head=m.head, labels=labels, tile=m.tile, **numbers, **block)


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


def resolve(config: Config, image_size: int = 0) -> None:
    """Fills in what the configuration leaves to the data: normalisation figures, and the image size if given.

    Raises:
      InputError: a dataset without figures.
    """
    data = config.data
    if not data.mean:
        figures = [read_figures(data.data_dir, name) for name in config.source_names()]
        data.mean = tuple(value for source in figures for value in source.mean)
        data.std = tuple(value for source in figures for value in source.std)
    data.image_size = data.image_size or image_size


def preparation(config: Config) -> dict:
    """Keyword arguments of `augment.prepare` for fields of `config.data.name`."""
    number = config.source_names().index(figures_name(config))
    return _preparation(config, *(figures[number] for figures in _figures(config)))


def figures_name(config: Config) -> str:
    """By which source's figures fields of `config.data.name` are shown: its own, or of no source, the first one's."""
    names = config.source_names()
    return config.data.name if config.data.name in names else names[0]


def _preparation(config: Config, mean: tuple, std: tuple) -> dict:
    data, mix = config.data, parse_mix(config.data.mix)
    if data.shown_mean and len(data.shown_mean) != len(mix):
        raise InputError(
            f"config.data.shown_mean={data.shown_mean!r}, but config.data.mix={data.mix!r} has {len(mix)} channels; "
            "give one figure for each, or none: --config.data.shown_mean=() --config.data.shown_std=()"
        )
    shown = (tuple(data.shown_mean), tuple(data.shown_std)) if data.shown_mean else None
    return {"mix": mix, "mean": mean, "std": std, "shown": shown}


def _figures(config: Config) -> tuple[tuple, tuple]:
    """Means and deviations, each a tuple of four for every source."""
    data, sources = config.data, len(config.source_names())
    mean, std = ((v,) * sources if len(v) == len(CHANNELS) else _cut(v) for v in (data.mean, data.std))
    return tuple(map(tuple, mean)), tuple(map(tuple, std))


def _figures_by_source(config: Config) -> tuple[tuple, tuple]:
    """Means and deviations as `steps.make_train_step` takes them: of several sources a row each."""
    mean, std = _figures(config)
    return (mean[0], std[0]) if len(mean) == 1 else (mean, std)


def _cut(values: tuple) -> list[tuple]:
    return [values[at : at + len(CHANNELS)] for at in range(0, len(values), len(CHANNELS))]


def open_split(config: Config, split: str, name: str = "") -> Fields:
    """The fields of one part of the dataset `name` (default: config.data.name), as the configuration wants them seen.

    Raises:
      InputError: no such dataset or part, or no field in it bears one of the labels.
    """
    data = config.data
    name = name or data.name
    label_ids = tuple(data.labels) or None
    size = data.image_size or None
    fields = open_fields(data.data_dir, name, split, fold=data.fold, image_size=size, label_ids=label_ids)
    if len(fields) == 0:
        raise InputError(f"no field of split {split!r} of {name} bears one of config.data.labels={data.labels!r}")
    return fields


def open_sources(config: Config) -> Joined:
    """The fields to train on, of every source."""
    names = config.source_names()
    return Joined([open_split(config, config.data.train_split, name) for name in names], names)


def make_order(config: Config, fields: Joined) -> Order:
    """Which field comes when: sampling by labels, times the weight of the field's source."""
    data = config.data
    factors = sampling.factors(
        fields.targets(),
        data.sampling,
        rare_below=data.rare_below,
        rare_copies=data.rare_copies,
        repeat_threshold=data.repeat_threshold,
    )
    return Order(factors * np.repeat(config.source_weights(), fields.lengths()), config.train.seed)


def image_size_of(config: Config, fields: Joined) -> int:
    """The side in px of the images that the net sees: as configured, or as stored.

    Raises:
      InputError: stored images are not square and no size is configured.
    """
    if config.data.image_size:
        return config.data.image_size
    height, width = fields.image_shape[:2]
    if height != width:
        raise InputError(f"{config.data.name} holds images of {height} x {width} px; set config.data.image_size")
    return height


def total_steps(config: Config, order: Order) -> int:
    """Length of the run in steps."""
    steps = config.train.steps or round(config.train.epochs * order.epoch_length / config.data.batch_size)
    return max(1, steps)


def total_updates(config: Config, steps: int) -> int:
    """Updates of the weights in so many steps; what the last steps gather without completing one is lost."""
    return max(1, steps // config.optim.accumulate)


def start_variables(config: Config, fields: Joined | None = None) -> dict:
    """A net's first `{'params', 'batch_stats'}`, drawn on the host.

    `fields`, those to train on, give the scores their starting values where the configuration wants that.

    Raises:
      InputError: the net does not take images of this size.
    """
    model, size = make_model(config), config.data.image_size
    image_shape = (size, size, len(parse_mix(config.data.mix)))
    check_size(model, image_shape)
    variables = init_variables(model, image_shape, config.train.seed)
    if fields is not None and config.train.prior_bias:
        variables["params"]["head"]["logits"]["bias"] = prior_bias(fields.targets().mean(0))
    return variables


def pretrained_variables(config: Config, fields: Joined | None = None) -> tuple[dict, pretrained.Loaded]:
    """The same with what `config.model.pretrained` holds in place of what was drawn, and what that was.

    Raises:
      InputError: it cannot be had, or is of another net.
    """
    m, variables = config.model, start_variables(config, fields)
    return pretrained.load_described(m.pretrained, net=m.name, variables=variables, stem=m.stem)


def make_rate(config: Config, steps: int) -> Callable[[int], float]:
    """The schedule's rate of each step (from 0), on the host; without what a plateau makes of it."""
    schedule, o = jax.jit(_schedule(config, steps)), config.optim  # op by op it would be some forty programs
    return lambda step: float(schedule(step // o.accumulate))


def start_state(
    config: Config, mesh: Mesh, steps: int, fields: Joined | None = None, variables: dict | None = None
) -> tuple[TrainState, optax.GradientTransformation]:
    """The state before the first step, on every device of the mesh, and the optimiser that advances it.

    Args:
      steps: of the run.
      fields: those to train on, or None.
      variables: to start from; None: `start_variables`.
    """
    optimizer = _optimizer(config, steps)
    variables = start_variables(config, fields) if variables is None else variables
    state = _new_state(config, optimizer, variables)
    return put_replicated(state, mesh), optimizer


def abstract_state(config: Config, mesh: Mesh, steps: int) -> tuple[TrainState, optax.GradientTransformation]:
    """The same without any numbers: shapes, types and shardings, for a mesh of devices that need not be there.

    Args:
      steps: of the run; 0 where no step is to be taken: the schedule is then of no matter.

    Raises:
      InputError: the net does not take images of this size.
    """
    model, size, optimizer = make_model(config), config.data.image_size, _optimizer(config, steps)
    image_shape = (size, size, len(parse_mix(config.data.mix)))
    check_size(model, image_shape)

    def begin():
        image = jnp.zeros((1, *image_shape), jnp.float32)
        variables = {"batch_stats": {}} | model.init(jax.random.key(0), image, train=False)
        return _new_state(config, optimizer, variables)

    whole = replicated(mesh)
    state = jax.eval_shape(begin)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), state), optimizer


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


def _new_state(config: Config, optimizer: optax.GradientTransformation, variables: dict) -> TrainState:
    watched = config.optim.plateau_patience > 0 or config.train.stop_after > 0
    return new_state(variables, optimizer, average=config.train.ema > 0, progress=watched)


def _schedule(config: Config, steps: int) -> optax.Schedule:
    o = config.optim
    return make_schedule(o.schedule, o.lr, total_updates(config, steps), o.schedule_options)


def make_statistics(config: Config, mesh: Mesh | None = None) -> Callable:
    """The function that finds a batch's own statistics for given weights, not jitted (steps.make_statistics_step)."""
    bare = dataclasses.replace(config.model, dropout=0.0, bn_momentum=0.0)
    model = make_model(dataclasses.replace(config, model=bare))
    preparation = _preparation(config, *_figures_by_source(config))
    return make_statistics_step(model, preparation=preparation, mesh=mesh)


def make_step(
    config: Config,
    optimizer: optax.GradientTransformation,
    fields: Joined | None = None,
    mesh: Mesh | None = None,
) -> Callable:
    """The training step of this configuration, not jitted; `fields`, those to train on, say which labels are rare.

    Where the mesh has several devices along `space`, the step cuts the height of images over them.
    """
    a = config.augment
    only_labels = None
    if a.only_rare and fields is not None:
        only_labels = tuple(np.flatnonzero(sampling.rare_labels(fields.targets(), config.data.rare_below)).tolist())
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
        preparation=_preparation(config, *_figures_by_source(config)),
        only_labels=only_labels,
        average_decay=config.train.ema,
        mesh=mesh,
    )


def abstract_batch(config: Config, fields: Joined, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """What a training step takes of each batch: shapes, types and shardings, without any data."""
    size, labels = config.data.batch_size, len(config.label_ids())
    arrays = {"image": ((size, *fields.image_shape), np.uint8), "targets": ((size, labels), np.uint8)}
    arrays["source"] = ((size,), np.int32)
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=by_field(mesh)) for name, (shape, dtype) in arrays.items()
    }


def make_utilisation(config: Config, mesh: Mesh, program: jax.stages.Compiled, state: TrainState) -> Utilisation:
    """What the compiled training step, with which such a state advances, gets out of the chips of `mesh`."""
    chip = chip_of(mesh.devices.flat[0].device_kind)
    if chip is None:
        return Utilisation(None, mesh.size, 0.0, 0.0)
    plain, size = make_model(config), config.data.image_size
    image = jax.ShapeDtypeStruct((1, size, size, len(parse_mix(config.data.mix))), np.float32)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    flops = training_flops(lambda variables, images: plain.apply(variables, images, train=False), variables, image)
    # Of a loop over tiles the compiler counts one turn: nothing is said then, rather than too little.
    return Utilisation(chip, mesh.size, flops, 0.0 if config.model.tile else bytes_accessed(program))


def _loss(config: Config, fields: Joined | None) -> Callable:
    weights, settings = None, config.loss
    if "weighted" in parse_terms(config.train.loss):
        targets = np.eye(len(config.label_ids()), dtype=np.uint8) if fields is None else fields.targets()
        weights = positive_weights(targets, settings.positive_power, settings.positive_limit)
    return make_loss(config.train.loss, settings, weights)
