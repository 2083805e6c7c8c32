"""From a configuration to the parts of a run: the one place where its fields become arguments of plain functions."""

from collections.abc import Callable

import jax
import optax
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data import Fields, open_fields
from hpa_jax.errors import InputError
from hpa_jax.losses import LOSSES
from hpa_jax.mesh import replicated
from hpa_jax.models import Classifier, build_model, init_variables, prior_bias
from hpa_jax.optim import make_optimizer, make_schedule
from hpa_jax.state import TrainState, new_state
from hpa_jax.steps import make_train_step


def make_model(config: Config) -> Classifier:
    m = config.model
    return build_model(
        m.name, head=m.head, labels=len(config.label_ids()), dropout=m.dropout, momentum=m.bn_momentum, dtype=m.dtype
    )


def preparation(config: Config) -> dict:
    """Keyword arguments of `augment.prepare`."""
    return {"channels": config.channel_ids(), "mean": tuple(config.data.mean), "std": tuple(config.data.std)}


def open_split(config: Config, split: str) -> Fields:
    """The fields of one part of the dataset, as the configuration wants them seen.

    Raises:
      InputError: no such dataset or part, or no field in it bears one of the labels.
    """
    data = config.data
    label_ids = tuple(data.labels) or None
    fields = open_fields(data.data_dir, data.name, split, image_size=data.image_size or None, label_ids=label_ids)
    if len(fields) == 0:
        raise InputError(f"no field of split {split!r} of {data.name} bears one of config.data.labels={data.labels!r}")
    return fields


def image_size_of(config: Config, fields: Fields) -> int:
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


def total_steps(config: Config, fields: Fields) -> int:
    """Length of the run in steps."""
    steps = config.train.steps or round(config.train.epochs * len(fields) / config.data.batch_size)
    return max(1, steps)


def start_state(
    config: Config, mesh: Mesh, steps: int, fields: Fields | None = None
) -> tuple[TrainState, optax.GradientTransformation]:
    """The state before the first step, on every device of the mesh, and the optimiser that advances it.

    `fields`, those to train on, give the scores their starting values where the configuration wants that.
    """
    o = config.optim
    schedule = make_schedule(o.schedule, o.lr, steps, o.schedule_options)
    optimizer = make_optimizer(o.name, schedule, b1=o.b1, b2=o.b2, eps=o.eps)
    size = config.data.image_size
    variables = init_variables(make_model(config), (size, size, len(config.data.channels)), config.train.seed)
    if fields is not None and config.train.prior_bias:
        variables["params"]["head"]["logits"]["bias"] = prior_bias(fields.targets().mean(0))
    return jax.device_put(new_state(variables, optimizer), replicated(mesh)), optimizer


def make_step(config: Config, optimizer: optax.GradientTransformation) -> Callable:
    """The training step of this configuration, not jitted."""
    if config.train.loss not in LOSSES:
        raise InputError(f"config.train.loss={config.train.loss!r} is unknown; choose one of {', '.join(LOSSES)}")
    a = config.augment
    return make_train_step(
        make_model(config),
        optimizer,
        LOSSES[config.train.loss],
        seed=config.train.seed,
        augmentation={"flips": a.flips, "rotate_degrees": a.rotate_degrees, "scale": tuple(a.scale), "shift": a.shift},
        preparation=preparation(config),
    )
