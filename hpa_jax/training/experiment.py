"""The parts of a training run, each made once: data, mesh, model, optimizer, steps."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from hpa_jax import pretrained
from hpa_jax.config import Config, to_dict
from hpa_jax.data import pipeline
from hpa_jax.data.loader import train_batches
from hpa_jax.errors import InputError
from hpa_jax.optim.plateau import after_evaluation
from hpa_jax.parallel.compile import compile_for, kernels_explained
from hpa_jax.parallel.memory import advice
from hpa_jax.parallel.mesh import process_slice, put_batch, put_replicated
from hpa_jax.parallel.process_group import SINGLE_PROCESS, ProcessGroup, SingleProcess
from hpa_jax.tracking.throughput import Utilization
from hpa_jax.training import components, parts
from hpa_jax.training.evaluator import StatisticsEstimator
from hpa_jax.training.fusion import is_fusion
from hpa_jax.training.fusion_source import FusionSource
from hpa_jax.training.kept_step import keep_traced, trace_key
from hpa_jax.training.retraining import BackboneSource
from hpa_jax.training.state import TrainState, eval_variables
from hpa_jax.training.tasks import task_class
from hpa_jax.training.vote_bank import fill_bank
from hpa_jax.transforms.channel_mix import channels_of_mix


class Experiment:
    """The parts of a training run, each made once.

    Attributes:
      config: with its `data` section resolved. It is read, never changed.
      dataset, eval_dataset: the images to train and to evaluate on.
      data_identity: what these are.
      order: which image comes when.
      num_steps: length of the run.
      eval_every: steps between evaluations.
      mesh: of the devices.
      setup: task and optimizer.
      task: what is learnt.
      train_step: jitted, the state donated.
      learning_rate: the schedule's, of a step counted from 0, without the factor of a plateau.

    Args:
      config: of the run, as configured.
      group: the processes of the run.

    Raises:
      InputError: what is configured cannot be done.
    """

    def __init__(self, config: Config, group: SingleProcess | ProcessGroup = SINGLE_PROCESS):
        task_type = task_class(config)
        _check_metric(config, task_type.metric_names(config))
        group.check_same_config(to_dict(config))
        config = dataclasses.replace(config, data=pipeline.resolve_labels(config.data))
        self.dataset = task_type.open_sources(config)
        data = pipeline.resolve_data(config.data, self.dataset)
        config = task_type.resolve(dataclasses.replace(config, data=data), self.dataset)
        self.config = config
        self.mesh = parts.make_mesh(data, config.model, config.devices.space)
        self.eval_dataset = task_type.open_split(config, data.eval_split)
        task_type.check_data(config, self.dataset, self.eval_dataset)
        group.check_equal("the data to train on (as SHA-256)", self.dataset.fingerprint())
        group.check_equal("the data to evaluate on (as SHA-256)", self.eval_dataset.fingerprint())
        self.data_identity = pipeline.identify(data, self.dataset)
        self.order = task_type.make_order(config, self.dataset)
        self._vary = task_type.make_variation(config, self.dataset)
        if self._vary is not None:
            group.check_equal("the tables of config.augment.generated", self._vary.digest)
        epoch_length = self.order.epoch_length
        self.num_steps = parts.total_steps(config.train, epoch_length, data.batch_size)
        self.eval_every = config.train.eval_every or max(1, round(epoch_length / data.batch_size))

        self.setup = components.Setup(config, self.mesh, num_steps=self.num_steps)
        self.task = self.setup.task
        self.train_step = self.setup.make_train_step(self.dataset)
        self.learning_rate = parts.make_learning_rate(config.optim, self.num_steps)
        self._batch_names = tuple(self.task.batch_arrays(self.dataset.image_shape))
        self._evaluate = self.task.make_evaluator(self.eval_dataset, advice(config))
        self._fit = self.task.make_fitter(self.eval_dataset, self.data_identity.learned)
        self._estimate_statistics = None
        if config.train.ema:
            self._estimate_statistics = StatisticsEstimator(
                self.setup.make_statistics_step(),
                self.mesh,
                self._host_batches,
                num_batches=config.train.ema_batches,
            )

    def shape_notes(self) -> list[str]:
        """What becomes of images that are not square, a line for each dataset that has some."""
        notes = self.dataset.shape_notes()
        name = self.config.data.name
        if name not in self.config.source_names():
            notes.append(self.eval_dataset.shape_note(name))
        return [note for note in notes if note]

    def channel_notes(self) -> list[str]:
        """A line for each dataset of which the net does not see all channels that were imaged."""
        mix = self.config.data.channel_mix
        notes = []
        for name, preparation in self.data_identity.preparations.items():
            imaged = preparation["channels"] or ()
            seen = [channel for channel in channels_of_mix(mix) if channel in imaged]
            if len(seen) < len(imaged):
                notes.append(
                    f"{name} has {', '.join(imaged)}, of which the net sees "
                    f"{', '.join(seen) or 'none'} (config.data.channel_mix={mix})"
                )
        return notes

    def variation_notes(self) -> list[str]:
        """A line on what is done to images as they are read."""
        return [self._vary.describe()] if self._vary else []

    def starts_from_weights(self) -> bool:
        """Whether there is something to start from, as `initial_state` has it."""
        config = self.config
        return bool(config.model.pretrained or config.train.retrain_head or is_fusion(config))

    def initial_state(self, *, use_pretrained: bool) -> tuple[TrainState, pretrained.Loaded | None]:
        """The state before the first step, and which weights it starts from.

        Args:
          use_pretrained: start from `config.model.pretrained`, or from the backbones of
            `config.train.retrain_head` or `config.fusion.runs`, if one of them is set. What those
            runs have learnt from is then part of `data_identity`.

        Raises:
          InputError: those weights are not there, or of another net; or images of a wrong size.
        """
        config = self.config
        variables = self.task.initial_variables(self.dataset)
        loaded = None
        if use_pretrained and (config.train.retrain_head or is_fusion(config)):
            source_type = FusionSource if is_fusion(config) else BackboneSource
            source = source_type(config, self.data_identity.learned, self.eval_dataset.ids())
            variables, loaded = source.load(variables, self.mesh)
            learned = np.union1d(self.data_identity.learned, source.learned)
            self.data_identity = dataclasses.replace(self.data_identity, learned=learned)
            if config.fusion.images:
                model = self.task.model
                variables = fill_bank(config, model, variables, self.dataset, self.mesh)
        elif use_pretrained and config.model.pretrained:
            variables, loaded = pretrained.load_described(
                config.model.pretrained,
                net=config.model.name,
                variables=variables,
                stem=config.model.stem,
            )
        return self.setup.initial_state(variables), loaded

    def batches(self, position: int):
        """Endless batches of this process from a position in the order, on the host."""
        data = self.config.data
        return train_batches(
            self.dataset,
            self.order,
            batch_size=data.batch_size,
            threads=data.threads,
            start=position,
            vary=self._vary,
            **process_slice(),
        )

    def _host_batches(self):
        return self.batches(0)

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """What a training step takes of this process's part of a batch, on the devices."""
        arrays = {name: batch[name] for name in self._batch_names}
        return put_batch(arrays, self.mesh)

    def batch_ids(self, position: int) -> list[str]:
        """Ids of the batch, over all processes, from a position in the order."""
        ids = self.dataset.ids()
        end = position + self.config.data.batch_size
        return [ids[self.order[place]] for place in range(position, end)]

    def compile_train_step(
        self, state: TrainState, traces: Path | None = None
    ) -> tuple[jax.stages.Compiled, Utilization]:
        """The compiled training step, and what it gets out of the chips.

        Args:
          state: on the devices.
          traces: folder where traced steps are kept between starts; None: they are not.

        Raises:
          InputError: the GPU does not take the step's kernels.
        """
        batch = self.setup.abstract_batch(self.dataset.image_shape)
        device = self.mesh.devices.flat[0]
        model = self.config.model
        has_kernels = device.platform == "gpu" and model.block == "fused" and model.kernels
        with kernels_explained(device) if has_kernels else contextlib.nullcontext():
            program = self._compile_train_step(state, batch, device.platform, traces)
        counts_bytes = not (model.tile or has_kernels)
        return program, components.make_utilization(
            self.setup, program, state, counts_bytes=counts_bytes
        )

    def _compile_train_step(
        self, state: TrainState, batch: dict, platform: str, traces: Path | None
    ) -> jax.stages.Compiled:
        step = self.train_step
        if traces is not None:
            key = trace_key(
                self.config, self.dataset, self.mesh, state, batch, num_steps=self.num_steps
            )
            step = keep_traced(step, state, batch, key=key, folder=traces)
        return compile_for(platform, step, state, batch)

    def numbers_of(self, metrics: dict) -> dict[str, float]:
        """Of the metrics of an evaluation, those that a log line has."""
        names = self.task.metric_names(self.config)
        return {name: metrics[name] for name in names}

    def evaluate(
        self, state: TrainState, stopped: Callable[..., bool]
    ) -> tuple[TrainState, dict | None]:
        """Evaluates a state between two steps.

        What changes in the state (batch statistics of averaged weights, the weight of votes,
        progress) follows from the state alone, so that a run that was stopped here and evaluates
        again finds the same.

        Args:
          state: before the next step.
          stopped: whether to leave off. All processes ask at the same places
            (`PreemptionSignal.should_stop`).

        Returns:
          The state and the metrics; the state as it was and None if it was stopped on the way.
        """
        average = state.average
        if average is not None and average.batch_stats:
            average = self._estimate_statistics(average, stopped)
        evaluated = state.replace(average=average)
        fitted = {}
        if self._fit is not None:
            found = self._fit(evaluated, stopped)
            if found is None:
                return state, None
            evaluated, votes = found
            fitted = {"votes": votes.to_dict()}
        metrics = None
        if not stopped("an evaluation"):
            metrics = self._evaluate(eval_variables(evaluated), stopped)
        if metrics is None:
            return state, None
        metrics = metrics | fitted
        if state.progress is not None:
            optim = self.config.optim
            progress = after_evaluation(
                jax.device_get(state.progress),
                metrics[self.config.checkpoint.metric],
                patience=optim.plateau_patience,
                factor=optim.plateau_factor,
            )
            evaluated = evaluated.replace(progress=put_replicated(progress, self.mesh))
        return evaluated, metrics


def _check_metric(config: Config, known: tuple[str, ...]) -> None:
    metric = config.checkpoint.metric
    if metric not in known:
        choices = ", ".join(known)
        learnt = f"config.train.loss={config.train.loss!r}"
        if config.train.task != "classification":
            learnt = f"config.train.task={config.train.task!r}"
        raise InputError(
            f"config.checkpoint.metric={metric!r} is unknown with {learnt}; choose one of {choices}"
        )
