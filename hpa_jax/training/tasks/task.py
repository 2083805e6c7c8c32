"""A task: what a net learns from images. Its net, its loss, the batches, how it is evaluated.

The loop, its checkpoints, the optimizer and the mesh are the same for all tasks
(`hpa_jax/training/`). To add one, write a subclass of `Task` in a file of its own and name it in
`TASKS`; `config.train.task` takes it by that name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.epochs import EpochOrder
from hpa_jax.data.generated import GeneratedChannels
from hpa_jax.errors import InputError
from hpa_jax.training.state import TrainState
from hpa_jax.training.update import Objective

Evaluate = Callable[[dict, Callable[..., bool]], dict | None]
"""Variables `{'params', 'batch_stats'}` on the devices, and whether to leave off, which is asked
before each batch, to metrics by name; None if it was stopped."""


Fit = Callable[[TrainState, Callable[..., bool]], tuple[TrainState, Any] | None]
"""A state before an evaluation, and whether to leave off, to the state with what was fitted, and
what there is to say of it (`to_dict`); None if it was stopped."""


class EvaluationStep(NamedTuple):
    """The program of an evaluation, for a plan.

    Attributes:
      function: jitted.
      arguments: pytrees of `jax.ShapeDtypeStruct` with shardings: what it donates first, then
        variables and a batch.
    """

    function: jax.stages.Wrapped
    arguments: tuple


class Task(ABC):
    """What a run learns.

    Attributes:
      config: of the run, resolved.
      mesh: of the devices.
      model: the net in its plain form.
      input_shape: height and width (px) and channels of what the net takes.
      only_head: the backbone stays as it is (`config.train.retrain_head`).
    """

    LEARNS: str = ""
    """What it learns, for messages: "labels"."""
    AFTERWARDS: str = ""
    """What a finished run is for, for messages: the modes that take it."""

    model: nn.Module
    input_shape: tuple[int, int, int]
    only_head: bool = False

    def __init__(self, config: Config, mesh: Mesh):
        self.config = config
        self.mesh = mesh

    # What a run needs before there is a net.

    @staticmethod
    @abstractmethod
    def metric_names(config: Config) -> tuple[str, ...]:
        """Names of the metrics of an evaluation that are logged.

        Each can be `config.checkpoint.metric`; the largest is the best.
        """

    @staticmethod
    def resolve(config: Config, dataset: ConcatDataset) -> Config:
        """Fills in what the configuration leaves to the images to train on.

        Args:
          config: with a resolved `data` section.
          dataset: the images to train on.

        Returns:
          A configuration that config.json keeps, and from which alone the net is built again.
        """
        del dataset
        return config

    @staticmethod
    def open_sources(config: Config) -> ConcatDataset:
        """The images to train on, with what the task needs beside them."""
        return pipeline.open_sources(config.data)

    @staticmethod
    def open_split(config: Config, split: str) -> ImageDataset:
        """The images of a split of `config.data.name`, with what the task needs beside them."""
        return pipeline.open_split(config.data, split)

    @staticmethod
    def check_data(config: Config, dataset: ConcatDataset, eval_dataset: ImageDataset) -> None:
        """Refuses images from which the task cannot be learnt.

        Raises:
          InputError: says which, and why.
        """
        del config, dataset, eval_dataset

    @staticmethod
    def make_order(config: Config, dataset: ConcatDataset) -> EpochOrder:
        """Which image of the training set comes when."""
        return pipeline.make_order(config.data, dataset, config.train.seed)

    @staticmethod
    def make_variation(config: Config, dataset: ConcatDataset) -> GeneratedChannels | None:
        """What is done to images as they are read; None: nothing.

        Args:
          config: with a resolved `data` section.
          dataset: the images to train on.

        Raises:
          InputError: it is asked for, and the task has none.
        """
        del dataset
        if config.augment.generated:
            raise InputError(
                f"config.augment.generated={config.augment.generated!r} is for "
                "config.train.task='classification'; set it to ''"
            )
        return None

    # What runs on the devices.

    @abstractmethod
    def batch_arrays(self, image_shape: tuple[int, int, int]) -> dict[str, tuple]:
        """The arrays of a batch that a training step takes.

        Args:
          image_shape: of the images as they are read.

        Returns:
          Shape without the batch, and dtype, by name.
        """

    def abstract_inputs(self) -> jax.ShapeDtypeStruct:
        """What the net takes of one image: `[1, ...]`."""
        return jax.ShapeDtypeStruct((1, *self.input_shape), np.float32)

    def abstract_variables(self) -> dict:
        """Shapes and dtypes of the net's `{'params', 'batch_stats'}`.

        Raises:
          InputError: the net does not take such images.
        """

        def init(inputs) -> dict:
            return self.model.init(jax.random.key(0), inputs, train=False)

        shapes = jax.eval_shape(init, self.abstract_inputs())
        # A net without batch norm has no statistics.
        return {"batch_stats": {}} | shapes

    @abstractmethod
    def initial_variables(self, dataset: ConcatDataset | None = None) -> dict:
        """The net's random `{'params', 'batch_stats'}`, on the host.

        Args:
          dataset: the images to train on, where the first values follow from them.

        Raises:
          InputError: the net does not take such images.
        """

    @abstractmethod
    def objective(self, dataset: ConcatDataset | None, num_steps: int) -> Objective:
        """What a training step makes smaller.

        Args:
          dataset: the images to train on. None: the program is the same, and its constants, such
            as the weights of labels, are not those of a run.
          num_steps: length of the run.
        """

    def make_statistics_step(self) -> Callable[[dict, dict], dict]:
        """A batch's own statistics under given weights, for `config.train.ema`.

        Raises:
          InputError: the task has none.
        """
        name = self.config.train.task
        raise InputError(
            f"config.train.ema={self.config.train.ema}: config.train.task={name!r} keeps no "
            "average of its weights; set config.train.ema=0"
        )

    @abstractmethod
    def make_evaluator(self, dataset: ImageDataset, advice: str) -> Evaluate:
        """What evaluates weights between two steps.

        Args:
          dataset: the images to evaluate on.
          advice: what to do where the program does not fit into memory.
        """

    def make_fitter(self, dataset: ImageDataset, learned: np.ndarray) -> Fit | None:
        """What is fitted before each evaluation, on the images of that; None: nothing is.

        Args:
          dataset: the images to evaluate on.
          learned: the `id_hashes` of the images that the run learns from.
        """
        return None

    @abstractmethod
    def evaluation_step(self, variables: dict) -> EvaluationStep:
        """The program of `make_evaluator`, on arrays without values.

        Args:
          variables: `{'params', 'batch_stats'}` of `jax.ShapeDtypeStruct`.
        """

    # What the terminal shows.

    def describe_net(self) -> str:
        """The net, for the line of a start."""
        return self.config.model.name

    def describe_evaluation(self, metrics: dict[str, Any], ranking: str) -> str:
        """The metrics, for the line of an evaluation.

        Args:
          metrics: by name.
          ranking: the one that ranks checkpoints, which is shown in any case.
        """
        del ranking
        shown = []
        for name in self.metric_names(self.config):
            spelled = name.replace("_", " ")
            shown.append(f"{spelled} {metrics[name]:.4f}")
        return ", ".join(shown)
