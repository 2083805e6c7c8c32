"""Parts of a run from sections of a configuration, whose fields become plain arguments."""

from collections.abc import Callable

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from hpa_jax.config import Augment, Config, Data, Loss, Metric, Model, Optim, Train
from hpa_jax.errors import InputError
from hpa_jax.models import (
    FUSION,
    Classifier,
    MetricNet,
    VoteSettings,
    check_size,
    class_prior_bias,
    create_fusion_net,
    create_metric_net,
    create_model,
    init_variables,
    prior_bias,
    split_multiple,
)
from hpa_jax.models.cell_attention import CellClassifier, create_cell_classifier
from hpa_jax.optim import label_weights
from hpa_jax.optim.losses import LossFunction, is_single_label, make_loss, parse_terms
from hpa_jax.optim.optimizer import make_optimizer, make_schedule
from hpa_jax.parallel.mesh import mesh_for
from hpa_jax.transforms.channel_mix import parse_channel_mix
from hpa_jax.transforms.line_kernels import line_mover
from hpa_jax.transforms.lines import move_lines


def make_cell_net(config: Config) -> CellClassifier:
    """The net of a run that learns labels of cells.

    Args:
      config: of the run, resolved by its task.
    """
    model = config.model
    return create_cell_classifier(
        model.name,
        head=model.head,
        num_labels=len(config.data.label_ids()),
        dropout=model.dropout,
        momentum=model.bn_momentum,
        dtype=model.dtype,
        stochastic_depth=model.stochastic_depth,
        attention_width=config.cells.attention_width,
    )


def make_net(
    config: Config,
    mesh: Mesh | None = None,
    *,
    only_head: bool = False,
    votes: bool = True,
) -> Classifier:
    """The net of a run that learns labels, a logit each.

    Args:
      config: of the run, resolved by its task.
      mesh, only_head: as of `make_model`; a fused net has one form only.
      votes: whether the neighbours of a fused net vote; without them it has the head's scores.
    """
    num_labels = len(config.data.label_ids())
    model = config.model
    if model.name != FUSION:
        return make_model(model, num_labels, mesh, only_head=only_head)
    fusion = config.fusion
    settings = None
    if fusion.images and votes:
        settings = VoteSettings(fusion.images, fusion.neighbours, fusion.temperature)
    return create_fusion_net(
        fusion.parts,
        num_labels=num_labels,
        width=fusion.width,
        dropout=model.dropout,
        momentum=model.bn_momentum,
        dtype=model.dtype,
        votes=settings,
        single_label=is_single_label(config.train.loss),
    )


def make_model(
    model: Model, num_labels: int, mesh: Mesh | None = None, *, only_head: bool = False
) -> Classifier:
    """The configured net.

    Args:
      model: section of the configuration.
      num_labels: number of logits.
      mesh: of a training step, for which the net is built in the form of `model.block`. None:
        in its plain form.
      only_head: the backbone stays as in evaluation; it is then built in its plain form as well.
    """
    form = {}
    if mesh is not None and not only_head:
        form = {"block": model.block, "mesh": mesh, "kernels": model.kernels}
    return create_model(
        model.name,
        head=model.head,
        num_labels=num_labels,
        dropout=model.dropout,
        momentum=model.bn_momentum,
        dtype=model.dtype,
        tile=model.tile,
        frozen_backbone=only_head,
        stochastic_depth=model.stochastic_depth,
        **form,
    )


def make_metric_net(model: Model, metric: Metric, mesh: Mesh | None = None) -> MetricNet:
    """The configured net of metric learning.

    Args:
      model, metric: sections of the configuration; `metric.num_classes` is resolved.
      mesh: of a training step, as of `make_model`.
    """
    form = {}
    if mesh is not None:
        form = {"block": model.block, "mesh": mesh, "kernels": model.kernels}
    return create_metric_net(
        model.name,
        head=model.head,
        embedding_size=metric.embedding_size,
        num_classes=metric.num_classes,
        dropout=model.dropout,
        momentum=model.bn_momentum,
        dtype=model.dtype,
        stochastic_depth=model.stochastic_depth,
        **form,
    )


def make_mesh(data: Data, model: Model, space: int = 0) -> Mesh:
    """The mesh of this run's devices.

    Args:
      data: resolved.
      model: section of the configuration.
      space: `config.devices.space`.

    Raises:
      InputError: the devices cannot share the batches, or the images.
    """
    mesh = mesh_for(data.batch_size, data.image_size, split_multiple(model.name), space)
    if model.tile and mesh.shape["space"] > 1:
        raise InputError(
            f"config.model.tile={model.tile} takes full images, and "
            f"config.devices.space={mesh.shape['space']} shards their height; choose a "
            f"config.data.batch_size that is a multiple of {mesh.size}, or config.model.tile=0"
        )
    return mesh


def input_shape(data: Data) -> tuple[int, int, int]:
    """Height and width (px) and channels of the images that the net takes."""
    return data.image_size, data.image_size, len(parse_channel_mix(data.channel_mix))


def total_steps(train: Train, epoch_length: int, batch_size: int) -> int:
    """Length of the run in steps, where an epoch shows so many images."""
    steps = train.steps or round(train.epochs * epoch_length / batch_size)
    return max(1, steps)


def initial_variables(
    model: Classifier,
    input_shape: tuple[int, int, int],
    seed: int,
    targets: np.ndarray | None = None,
    *,
    single_label: bool = False,
) -> dict:
    """A net's random `{'params', 'batch_stats'}`, on the host.

    Args:
      model: the net.
      input_shape: height and width (px) and channels of its images.
      seed: of the random numbers.
      targets: uint8 `[N, L]` for scores that start at the frequency of each label in it; None:
        near 0.5.
      single_label: every image has exactly one label: a label's score is then its share of them.

    Raises:
      InputError: the net does not take images of this size.
    """
    check_size(model, input_shape)
    variables = init_variables(model, input_shape, seed)
    if targets is not None:
        bias_of = class_prior_bias if single_label else prior_bias
        variables["params"]["head"]["logits"]["bias"] = bias_of(targets.mean(0))
    return variables


def make_optimizer_from(
    optim: Optim, steps: int, *, only_head: bool = False
) -> optax.GradientTransformation:
    """The configured optimizer of a run of so many steps; 0: of a constant learning rate."""
    schedule = _make_schedule(optim, steps) if steps else optax.constant_schedule(optim.lr)
    return make_optimizer(
        optim.name,
        schedule,
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        clip=optim.clip,
        accumulate=optim.accumulate,
        backbone_lr=optim.backbone_lr,
        freeze_backbone=optim.freeze_backbone,
        only_head=only_head,
    )


def make_learning_rate(optim: Optim, steps: int) -> Callable[[int], float]:
    """The schedule's learning rate of each step (from 0), on the host."""
    # Jitted: operation by operation it would be some forty programs.
    schedule = jax.jit(_make_schedule(optim, steps))
    return lambda step: float(schedule(step // optim.accumulate))


def _make_schedule(optim: Optim, steps: int) -> optax.Schedule:
    # A schedule counts updates. What the last steps accumulate without completing one is lost.
    updates = max(1, steps // optim.accumulate)
    return make_schedule(optim.schedule, optim.lr, updates, optim.schedule_options)


def make_loss_from(loss: Loss, terms: str, targets: np.ndarray, num_steps: int) -> LossFunction:
    """The configured loss.

    Args:
      loss: section of the configuration.
      terms: `config.train.loss`.
      targets: uint8 `[N, L]`, the labels of the images to train on.
      num_steps: length of the run.
    """
    options = {
        "focal": {"gamma": loss.focal_gamma, "alpha": loss.focal_alpha},
        "asymmetric": {
            "gamma_positive": loss.asymmetric_gamma_positive,
            "gamma_negative": loss.asymmetric_gamma_negative,
            "clip": loss.asymmetric_clip,
        },
    }
    named = parse_terms(terms)
    if "weighted" in named:
        weights = label_weights.positive_weights(targets, loss.positive_power, loss.positive_limit)
        options["weighted"] = {"positive_weights": weights}
    if "ldam" in named:
        late = label_weights.effective_number_weights(targets, loss.ldam_beta)
        start = round(loss.ldam_reweight_after * num_steps)
        options["ldam"] = {
            "margins": label_weights.label_margins(targets, loss.ldam_margin),
            "label_weights": label_weights.deferred(late, start),
            "scale": loss.ldam_scale,
        }
    return make_loss(terms, options)


def augmentation(augment: Augment, mesh: Mesh | None) -> dict:
    """Keyword arguments of `hpa_jax.transforms.augment.augment_images`, for devices of a mesh."""
    return {
        "flips": augment.flips,
        "rotate_degrees": augment.rotate_degrees,
        "scale": tuple(augment.scale),
        "shift": augment.shift,
        "channel_dropout": augment.channel_dropout,
        "protein_contrast": augment.protein_contrast,
        "contrast": augment.contrast,
        "brightness": augment.brightness,
        "exposure": augment.exposure,
        "move": line_mover(mesh) if augment.kernels else move_lines,
    }


def mixing(augment: Augment, batch_size: int) -> dict | None:
    """Keyword arguments of `hpa_jax.transforms.mixing.draw_mix`; None where nothing is mixed.

    Raises:
      InputError: a batch has no two images.
    """
    if not (augment.mixup or augment.cutmix):
        return None
    if batch_size < 2:
        raise InputError(
            f"config.data.batch_size={batch_size}: with config.augment.mixup or cutmix an image "
            "would be mixed with itself; give larger batches, or set both to 0"
        )
    return {
        "mixup": augment.mixup,
        "cutmix": augment.cutmix,
        "probability": augment.mix_probability,
    }
