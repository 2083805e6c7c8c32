"""The task `channels`: channels from the others, any subset of them, by one net.

A U-Net is shown a random subset of the sources of each image (channel dropout), and predicts the
targets that it does not see. Settings: `config.channels`.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.models import UNet, create_unet, init_variables
from hpa_jax.optim.image_losses import make_image_loss
from hpa_jax.parallel.mesh import (
    batch_sharding,
    put_replicated,
    replicated,
)
from hpa_jax.training import parts
from hpa_jax.training.evaluation_loop import EvaluationBatches, EvaluationProgram
from hpa_jax.training.tasks import channel_steps
from hpa_jax.training.tasks.channel_steps import OUTPUT, ChannelForms
from hpa_jax.training.tasks.task import Evaluate, EvaluationStep, Task
from hpa_jax.training.update import Objective
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_subsets import (
    Pair,
    pairs_of,
    parse_channels,
    shown_subsets,
)


class ChannelTask(Task):
    """Images of channels, by the losses of `hpa_jax.optim.image_losses`.

    Attributes:
      targets: names of the channels that the net predicts.
      sources: names of those that it may be shown.
      pairs: each target from all other sources: what an evaluation looks at.

    Args:
      config, mesh: as of `Task`.

    Raises:
      InputError: a setting that it does not take.
    """

    LEARNS = "to fill in channels"
    AFTERWARDS = "--mode=synthesize and export"

    def __init__(self, config: Config, mesh: Mesh):
        super().__init__(config, mesh)
        _check(config)
        self.targets = targets_of(config)
        self.sources = sources_of(config)
        self.pairs = evaluated_pairs(config)
        side = config.data.image_size
        self.input_shape = (side, side, 2 * len(self.sources))
        self.model = make_net(config)
        # Refuses a wrong text before there is anything to wait for.
        self._loss = make_image_loss(config.channels.loss)

    @staticmethod
    def metric_names(config: Config) -> tuple[str, ...]:
        return ("pearson", *(metric_name(pair) for pair in evaluated_pairs(config)))

    def batch_arrays(self, image_shape: tuple[int, int, int]) -> dict[str, tuple]:
        return {"image": (image_shape, np.uint8), "source": ((), np.int32)}

    def initial_variables(self, dataset: ConcatDataset | None = None) -> dict:
        return init_variables(self.model, self.input_shape, self.config.train.seed)

    def objective(self, dataset: ConcatDataset | None, num_steps: int) -> Objective:
        return channel_steps.channel_objective(
            make_net(self.config, training=True),
            self._loss,
            channel_forms(self.config, by_source=True),
            augmentation=parts.augmentation(self.config.augment, self.mesh),
            mesh=self.mesh,
            crop=self.config.channels.crop,
        )

    def make_statistics_step(self) -> Callable[[dict, dict], dict]:
        bare = dataclasses.replace(self.config.model, bn_momentum=0.0)
        return channel_steps.make_statistics_step(
            make_net(dataclasses.replace(self.config, model=bare)),
            channel_forms(self.config, by_source=True),
            seed=self.config.train.seed,
            mesh=self.mesh,
        )

    def make_evaluator(self, dataset: ImageDataset, advice: str) -> Evaluate:
        return ChannelEvaluator(self, dataset, advice)

    def make_sum_step(self) -> jax.stages.Wrapped:
        """The step of an evaluation, jitted: `channel_steps.make_sum_step`."""
        step = channel_steps.make_sum_step(
            self.model, channel_forms(self.config), self.pairs, self.mesh
        )
        return jax.jit(step, donate_argnums=0, out_shardings=replicated(self.mesh))

    def evaluation_step(self, variables: dict) -> EvaluationStep:
        def array(shape: tuple[int, ...], dtype, sharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

        sums = array((len(self.pairs),), np.float32, replicated(self.mesh))
        images = self.config.data.batch_size
        shape = (images, *self.input_shape[:2], len(CHANNELS))
        sharding = batch_sharding(self.mesh)
        batch = {
            "image": array(shape, np.uint8, sharding),
            "mask": array((images,), np.bool_, sharding),
        }
        return EvaluationStep(self.make_sum_step(), ((sums, sums), variables, batch))

    def describe_net(self) -> str:
        net = f"a U-Net on {self.config.model.name}"
        return f"{net} that fills in {', '.join(self.targets)} from {', '.join(self.sources)}"

    def describe_evaluation(self, metrics: dict, ranking: str) -> str:
        del ranking
        by_pair = [f"{pair} {metrics[metric_name(pair)]:.4f}" for pair in self.pairs]
        return f"mean Pearson {metrics['pearson']:.4f} ({'; '.join(by_pair)})"


class ChannelEvaluator:
    """Pearson's coefficient of each pair on a split, the mean over its images.

    Args:
      task: whose net it evaluates.
      dataset: the images to evaluate on.
      advice: what to do where the program does not fit into memory.
    """

    def __init__(self, task: ChannelTask, dataset: ImageDataset, advice: str):
        data = task.config.data
        self._task = task
        self._batches = EvaluationBatches(
            dataset,
            task.mesh,
            ("image", "mask"),
            batch_size=data.batch_size,
            threads=data.threads,
        )
        self._program = EvaluationProgram(task.make_sum_step(), task.mesh, advice)

    def __call__(self, variables: dict, stopped: Callable[..., bool]) -> dict | None:
        """Metrics by name: of each pair, and `pearson`, the mean over the pairs.

        Args:
          variables: `{'params', 'batch_stats'}`, on the devices.
          stopped: whether to leave off; asked before each batch.

        Returns:
          None if it was stopped.

        Raises:
          InputError: no image has one of the targets.
          NoRoom: the step does not fit into memory.
        """
        task = self._task
        zeros = np.zeros(len(task.pairs), np.float32)
        sums = put_replicated((zeros, zeros), task.mesh)
        for batch in self._batches(stopped):
            if batch is None:
                return None
            sums = self._program(sums, variables, batch)
        totals, counts = jax.device_get(sums)
        metrics = {}
        for pair, total, count in zip(task.pairs, totals, counts, strict=True):
            if not count:
                raise InputError(
                    f"no image of {task.config.data.eval_split} shows {pair.target}; leave it out "
                    "of config.channels.targets, or evaluate on images that have it"
                )
            metrics[metric_name(pair)] = float(total / count)
        return {"pearson": float(np.mean(list(metrics.values()))), **metrics}


def metric_name(pair: Pair) -> str:
    """Of a pair's mean Pearson coefficient: `pearson_yellow_from_red_blue`."""
    return f"pearson_{pair.key}"


def targets_of(config: Config) -> tuple[str, ...]:
    """Names of the channels that the net of a run predicts."""
    return parse_channels(config.channels.targets, "config.channels.targets")


def sources_of(config: Config) -> tuple[str, ...]:
    """Names of the channels that it may be shown."""
    return parse_channels(config.channels.sources, "config.channels.sources")


def evaluated_pairs(config: Config) -> tuple[Pair, ...]:
    """Each target from all sources other than itself."""
    return pairs_of(targets_of(config), sources_of(config))


def make_net(config: Config, *, training: bool = False, dtype: str = "") -> UNet:
    """The configured U-Net.

    Args:
      config: of a run.
      training: in the form of `config.model.block`, not in its plain form.
      dtype: of the arithmetic; "": `config.model.dtype`.
    """
    model = config.model
    return create_unet(
        model.name,
        outputs={OUTPUT: len(targets_of(config))},
        width=config.channels.width,
        momentum=model.bn_momentum,
        dtype=dtype or model.dtype,
        block=model.block if training else "plain",
    )


def channel_forms(config: Config, *, by_source: bool = False) -> ChannelForms:
    """Which channels go in and out of the net, and how.

    Args:
      config: of a run, with a resolved `data` section.
      by_source: for batches of all sources of images, each with statistics of its own; not those of
        `config.data.name` alone.
    """
    targets = targets_of(config)
    sources = sources_of(config)
    # The mix that selects them; what the net takes is normalized channel by channel.
    data = dataclasses.replace(config.data, channel_mix=",".join(sources))
    stored = normalize.preparation(dataclasses.replace(config.data, channel_mix="rgby"))
    mean = []
    std = []
    for place in channel_steps.places_of(targets):
        mean.append(float(stored["mean"][place]))
        std.append(float(stored["std"][place]))
    make_preparation = normalize.preparation_by_source if by_source else normalize.preparation
    return ChannelForms(targets, sources, make_preparation(data), tuple(mean), tuple(std))


def _check(config: Config) -> None:
    """Refuses settings that mean nothing here, or something else than what was meant."""
    data = config.data
    if data.channel_mix != "rgby" or data.input_mean:
        raise InputError(
            f"config.data.channel_mix={data.channel_mix!r}: a net that fills in channels sees "
            "them as they are stored; set config.data.channel_mix=rgby without input_mean, and "
            "name what it sees in config.channels.sources"
        )
    augment = config.augment
    if augment.channel_dropout or augment.mixup or augment.cutmix or augment.only_rare:
        raise InputError(
            "config.augment: with config.train.task='channels' leave channel_dropout, mixup and "
            "cutmix at 0 and only_rare at False; which channels the net sees is drawn anyway"
        )
    if config.train.retrain_head:
        raise InputError(
            "config.train.retrain_head is for config.train.task='classification'; set it to ''"
        )
    crop = config.channels.crop
    if crop > data.image_size:
        raise InputError(
            f"config.channels.crop={crop} is more than config.data.image_size={data.image_size}; "
            "set it to 0, or to less"
        )
    if crop and config.devices.space > 1:
        raise InputError(
            f"config.channels.crop={crop} with config.devices.space={config.devices.space}: a crop "
            "is on one device; set one of them to its default, 0 or 1"
        )
    shown_subsets(targets_of(config), sources_of(config))
