"""The parts of a run that need no dataset, together: for training, and for what reads a run.

To add a net, a loss, an optimizer or a task nothing needs to change here: their tables are in
`models/`, `optim/` and `tasks/`.
"""

import jax
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.labels import CHANNELS
from hpa_jax.parallel import memory
from hpa_jax.parallel.chips import chip_of
from hpa_jax.parallel.mesh import batch_sharding, put_replicated, replicated
from hpa_jax.tracking.throughput import Utilization, bytes_accessed, training_flops
from hpa_jax.training import parts
from hpa_jax.training.state import TrainState, new_state
from hpa_jax.training.tasks import make_task
from hpa_jax.training.update import make_update_step


class Setup:
    """Task, optimizer and steps of a configuration on a mesh, whose devices need not be there.

    Attributes:
      task: what is learnt.
      model: the net in its plain form.
      input_shape: height and width (px) and channels of what it takes.
      optimizer: Optax's.
      mesh: of the devices.

    Args:
      config: with a resolved `data` section (`hpa_jax.data.pipeline.resolve_data`), and resolved
        by its task (`Task.resolve`).
      mesh: of the devices.
      num_steps: length of the run; 0 where no step is to be taken, and the schedule does not
        matter.

    Raises:
      InputError: names a field whose value no part takes.
    """

    def __init__(self, config: Config, mesh: Mesh, *, num_steps: int = 0):
        self.mesh = mesh
        self.task = make_task(config, mesh)
        self.model = self.task.model
        self.input_shape = self.task.input_shape
        self.optimizer = parts.make_optimizer_from(
            config.optim, num_steps, only_head=self.task.only_head
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
        state = jax.eval_shape(self._new_state, self.task.abstract_variables())
        sharding = replicated(self.mesh)

        def abstract(leaf) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(abstract, state)

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
        arrays = {}
        for name, (shape, dtype) in self.task.batch_arrays(image_shape).items():
            arrays[name] = jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=sharding)
        return arrays

    def make_train_step(self, dataset: ConcatDataset | None = None) -> jax.stages.Wrapped:
        """The training step, jitted: state (donated) and batch to the next state and metrics.

        Where the mesh has several devices along `space`, it shards the height of images over
        them.

        Args:
          dataset: the images to train on, as of `Task.objective`.
        """
        train = self._config.train
        update = make_update_step(
            self.task.objective(dataset, self._num_steps),
            self.optimizer,
            seed=train.seed,
            average_decay=train.ema,
        )

        def train_step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
            # For layers that have to know how many devices share the images.
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                return update(state, batch)

        sharding = replicated(self.mesh)
        return jax.jit(train_step, donate_argnums=0, out_shardings=(sharding, sharding))

    def make_statistics_step(self) -> jax.stages.Wrapped:
        """A batch's own statistics under given weights (`Task.make_statistics_step`), jitted."""
        step = self.task.make_statistics_step()
        return jax.jit(step, out_shardings=replicated(self.mesh))


def make_utilization(
    setup: Setup, program: jax.stages.Compiled, state: TrainState, *, counts_bytes: bool
) -> Utilization:
    """What a compiled training step gets out of the chips that it runs on.

    Args:
      setup: of the run.
      program: the compiled step.
      state: that it advances, or an abstract one.
      counts_bytes: whether the compiler's count of what the step moves holds. Of a loop over tiles
        it counts one iteration, and of a GPU's Pallas kernels it knows nothing.
    """
    mesh = setup.mesh
    chip = chip_of(mesh.devices.flat[0].device_kind)
    if chip is None:
        return Utilization(None, mesh.size, 0.0, 0.0)

    def forward(variables, images):
        return setup.model.apply(variables, images, train=False)

    variables = {"params": state.params, "batch_stats": state.batch_stats}
    task = setup.task
    flops = training_flops(forward, variables, task.abstract_inputs(), only_head=task.only_head)
    # No number rather than a wrong one.
    step_bytes = bytes_accessed(program) if counts_bytes else 0.0
    return Utilization(chip, mesh.size, flops, step_bytes)
