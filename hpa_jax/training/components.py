"""The parts of a run that need no dataset, together: for training, and for what reads a run.

To add a net, a loss or an optimizer nothing needs to change here: their tables are in `models/` and
`optim/`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data import sampler
from hpa_jax.labels import CHANNELS
from hpa_jax.models import check_size
from hpa_jax.optim.losses import is_single_label
from hpa_jax.parallel import memory
from hpa_jax.parallel.chips import chip_of
from hpa_jax.parallel.mesh import batch_sharding, put_replicated, replicated
from hpa_jax.tracking.throughput import Utilization, bytes_accessed, training_flops
from hpa_jax.training import parts
from hpa_jax.training.evaluator import make_count_step
from hpa_jax.training.state import TrainState, new_state
from hpa_jax.training.steps import make_statistics_step, make_train_step
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
        self.input_shape = parts.input_shape(config.data)
        self._num_labels = len(config.data.label_ids())
        self.single_label = is_single_label(config.train.loss)
        self.model = parts.make_model(config.model, self._num_labels)
        self.only_head = bool(config.train.retrain_head)
        self.optimizer = parts.make_optimizer_from(
            config.optim, num_steps, only_head=self.only_head
        )
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
            parts.make_model(config.model, self._num_labels, self.mesh, only_head=self.only_head),
            self.optimizer,
            parts.make_loss_from(config.loss, config.train.loss, targets, self._num_steps),
            seed=config.train.seed,
            augmentation=parts.augmentation(augment),
            preparation=preparation_by_source(config.data),
            only_labels=only_labels,
            mixing=parts.mixing(augment, config.data.batch_size),
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
            parts.make_model(bare, self._num_labels, only_head=self.only_head),
            preparation=preparation_by_source(config.data),
            mesh=self.mesh,
        )
        return jax.jit(step, out_shardings=replicated(self.mesh))

    def make_count_step(self) -> jax.stages.Wrapped:
        """The step of an evaluation (`evaluator.make_count_step`), jitted."""
        return make_count_step(
            self.model, preparation(self._config.data), self.mesh, single_label=self.single_label
        )


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
