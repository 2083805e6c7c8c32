"""From sections of a configuration to the parts of a run: their fields become plain arguments.

`Setup` has the parts that need no dataset, for training and for what reads a run; to add a net, a
loss or an optimizer nothing needs to change here, their tables are in `models/` and `optim/`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from hpa_jax.config import Augment, Config, Data, Loss, Model, Optim, Train
from hpa_jax.data import sampler
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.models import (
    Classifier,
    check_size,
    class_prior_bias,
    create_model,
    init_variables,
    prior_bias,
    split_multiple,
)
from hpa_jax.optim import label_weights
from hpa_jax.optim.losses import LossFunction, is_single_label, make_loss, parse_terms
from hpa_jax.optim.optimizer import make_optimizer, make_schedule
from hpa_jax.parallel import memory
from hpa_jax.parallel.chips import chip_of
from hpa_jax.parallel.mesh import batch_sharding, mesh_for, put_replicated, replicated
from hpa_jax.tracking.throughput import Utilization, bytes_accessed, training_flops
from hpa_jax.training.evaluator import make_count_step
from hpa_jax.training.state import TrainState, new_state
from hpa_jax.training.steps import make_statistics_step, make_train_step
from hpa_jax.transforms.channel_mix import parse_channel_mix
from hpa_jax.transforms.normalize import preparation, preparation_by_source


class Setup:
    """Model, optimizer and steps of a configuration on a mesh, whose devices need not be there.

    Attributes:
      model: the net in its plain form.
      input_shape: height and width (px) and channels of what it takes.
      single_label: every image has exactly one label, by the configured loss.
      optimizer: Optax's.
      mesh: of the devices.
      only_head: the backbone stays as it is (`config.train.retrain_head`).

    Args:
      config: with a resolved `data` section (`hpa_jax.data.pipeline.resolve_data`).
      mesh: of the devices.
      num_steps: length of the run; 0 where no step is to be taken, and the schedule does not
        matter.

    Raises:
      InputError: names a field whose value no part takes.
    """

    def __init__(self, config: Config, mesh: Mesh, *, num_steps: int = 0):
        self.mesh = mesh
        self.input_shape = input_shape(config.data)
        self._num_labels = len(config.data.label_ids())
        self.single_label = is_single_label(config.train.loss)
        self.model = make_model(config.model, self._num_labels)
        self.only_head = bool(config.train.retrain_head)
        self.optimizer = make_optimizer_from(config.optim, num_steps, only_head=self.only_head)
        self._config = config
        self._num_steps = num_steps

    def initial_state(self, variables: dict) -> TrainState:
        """The state before the first step, on every device of the mesh.

        Args:
          variables: `{'params', 'batch_stats'}` to start from, on the host.

        Raises:
          NoRoom: it needs more memory than is left.
        """
        state = self._new_state(variables)
        memory.rooms(self.mesh.devices.flat).check(
            "the state of net and optimizer",
            memory.bytes_of(state),
            advice="it needs a smaller net, or a machine with more memory",
        )
        return put_replicated(state, self.mesh)

    def abstract_state(self) -> TrainState:
        """The same without values: shapes, types and shardings.

        Raises:
          InputError: the net does not take images of this size.
        """
        check_size(self.model, self.input_shape)

        def init() -> TrainState:
            image = jnp.zeros((1, *self.input_shape), jnp.float32)
            variables = self.model.init(jax.random.key(0), image, train=False)
            return self._new_state({"batch_stats": {}} | variables)

        sharding = replicated(self.mesh)

        def abstract(leaf) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(abstract, jax.eval_shape(init))

    def _new_state(self, variables: dict) -> TrainState:
        train = self._config.train
        keeps_progress = self._config.optim.plateau_patience > 0 or train.stop_after > 0
        return new_state(variables, self.optimizer, average=train.ema > 0, progress=keeps_progress)

    def abstract_batch(self, image_shape: tuple[int, int, int] | None = None) -> dict:
        """Shapes, types and shardings of the arrays that a training step takes.

        Args:
          image_shape: of the images as they are read; None: squares of the net's size.
        """
        if image_shape is None:
            image_shape = (*self.input_shape[:2], len(CHANNELS))
        batch_size = self._config.data.batch_size
        sharding = batch_sharding(self.mesh)

        def array(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=sharding)

        return {
            "image": array(image_shape, np.uint8),
            "targets": array((self._num_labels,), np.uint8),
            "source": array((), np.int32),
        }

    def make_train_step(self, targets: np.ndarray | None = None) -> jax.stages.Wrapped:
        """The training step, jitted: state (donated) and batch to the next state and metrics.

        Where the mesh has several devices along `space`, it shards the height of images over
        them.

        Args:
          targets: uint8 `[N, L]`, the labels of the images to train on, from which follow the
            weights and margins of losses and which labels are rare. None: of a set with each
            label once; the program is the same.
        """
        if targets is None:
            targets = np.eye(self._num_labels, dtype=np.uint8)
        config = self._config
        augment = config.augment
        only_labels = None
        if augment.only_rare:
            is_rare = sampler.rare_labels(targets, config.data.rare_below)
            only_labels = tuple(np.flatnonzero(is_rare).tolist())
        step = make_train_step(
            make_model(config.model, self._num_labels, self.mesh, only_head=self.only_head),
            self.optimizer,
            make_loss_from(config.loss, config.train.loss, targets, self._num_steps),
            seed=config.train.seed,
            augmentation=augmentation(augment),
            preparation=preparation_by_source(config.data),
            only_labels=only_labels,
            mixing=mixing(augment, config.data.batch_size),
            average_decay=config.train.ema,
            single_label=self.single_label,
            mesh=self.mesh,
        )
        sharding = replicated(self.mesh)
        return jax.jit(step, donate_argnums=0, out_shardings=(sharding, sharding))

    def make_statistics_step(self) -> jax.stages.Wrapped:
        """A batch's own statistics under given weights (`steps.make_statistics_step`), jitted."""
        config = self._config
        bare = dataclasses.replace(config.model, dropout=0.0, stochastic_depth=0.0, bn_momentum=0.0)
        step = make_statistics_step(
            make_model(bare, self._num_labels, only_head=self.only_head),
            preparation=preparation_by_source(config.data),
            mesh=self.mesh,
        )
        return jax.jit(step, out_shardings=replicated(self.mesh))

    def make_count_step(self) -> jax.stages.Wrapped:
        """The step of an evaluation (`evaluator.make_count_step`), jitted."""
        return make_count_step(
            self.model, preparation(self._config.data), self.mesh, single_label=self.single_label
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
        form = {"block": model.block, "mesh": mesh}
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


def augmentation(augment: Augment) -> dict:
    """Keyword arguments of `hpa_jax.transforms.augment.augment_images`."""
    return {
        "flips": augment.flips,
        "rotate_degrees": augment.rotate_degrees,
        "scale": tuple(augment.scale),
        "shift": augment.shift,
        "channel_dropout": augment.channel_dropout,
        "protein_contrast": augment.protein_contrast,
        "contrast": augment.contrast,
        "brightness": augment.brightness,
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


def make_utilization(
    setup: Setup, program: jax.stages.Compiled, state: TrainState, *, tiled: bool
) -> Utilization:
    """What a compiled training step gets out of the chips that it runs on.

    Args:
      setup: of the run.
      program: the compiled step.
      state: that it advances, or an abstract one.
      tiled: whether the net works tile by tile.
    """
    mesh = setup.mesh
    chip = chip_of(mesh.devices.flat[0].device_kind)
    if chip is None:
        return Utilization(None, mesh.size, 0.0, 0.0)

    def forward(variables, images):
        return setup.model.apply(variables, images, train=False)

    image = jax.ShapeDtypeStruct((1, *setup.input_shape), np.float32)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    flops = training_flops(forward, variables, image, only_head=setup.only_head)
    # The compiler counts one iteration of a loop over tiles: no number then, rather than too
    # low a one.
    step_bytes = 0.0 if tiled else bytes_accessed(program)
    return Utilization(chip, mesh.size, flops, step_bytes)
