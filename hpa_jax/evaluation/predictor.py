"""A checkpoint of a run that scores images: what evaluating, predicting and exporting start from.

The net is built and the checkpoint read only when something is to be scored. The run may be
training meanwhile (`ChosenCheckpoint`).
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

import jax
import numpy as np

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.evaluation import tta
from hpa_jax.evaluation.acquisition import acquisition_warnings, trained_preparations
from hpa_jax.evaluation.chosen_checkpoint import ChosenCheckpoint
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import single_label, thresholds
from hpa_jax.optim.losses import is_single_label
from hpa_jax.parallel import memory
from hpa_jax.parallel.mesh import batch_sharding, put_batch
from hpa_jax.training import components, parts
from hpa_jax.training.state import eval_variables
from hpa_jax.training.steps import make_score_step
from hpa_jax.training.tasks import check_task
from hpa_jax.transforms import normalize
from hpa_jax.workdir import read_config, read_record


def load_run(workdir: Path | str, checkpoint: str | int = "best") -> "Predictor":
    """A finished or running training run, ready to score images.

        predictor = load_run("runs/best")
        scores = predictor(images)
        predicted = predictor.decide(scores)

    Args:
      workdir: the run's folder.
      checkpoint: `best`, `latest` or a step.

    Returns:
      A `Predictor`; call it with images.

    Raises:
      InputError: the folder holds no run, or no such checkpoint.
    """
    workdir = local_path(workdir, "workdir")
    config = read_config(workdir)
    settings = dataclasses.replace(config.evaluate, checkpoint=str(checkpoint))
    return Predictor(dataclasses.replace(config, evaluate=settings), workdir)


class Predictor:
    """A checkpoint of a run, ready to score images.

    Attributes:
      step: of the checkpoint.
      written: tells the checkpoint from another one of that step; None if that cannot be told.
      labels: names of the L labels, in the order of the scores.
      label_ids: which labels of the run's vocabulary those are.
      image_size: side in px of the images that it takes.
      single_label: every image has exactly one label, the most probable: no threshold counts.
      thresholds: float64 `[L]`, fitted on `thresholds_split`; 0.5 where the checkpoint was saved
        without an evaluation, and with `single_label`.
      thresholds_split: the split they were fitted on (with `single_label`: that training
        evaluated), or None.
      tta: the test-time augmentation, in words (`hpa_jax.evaluation.tta.describe`).
      mesh: of the devices.
      config: of the run, with the datasets' versions chosen.
      workdir: the run's folder.
      record: what the run knows of itself.

    Args:
      config: of the run, resolved. Its section `evaluate` names the checkpoint and the test-time
        augmentation.
      workdir: the run's folder, which is only read.
      cells: also a run that has learnt labels of cells: its images are then crops of one each.

    Raises:
      InputError: the run has learnt no labels, no such checkpoint, an unknown setting, or devices
        that cannot share the batches.
    """

    def __init__(self, config: Config, workdir: Path, *, cells: bool = False):
        self._of_cells = cells and config.train.task == "cells"
        if not self._of_cells:
            check_task(config, "classification", str(workdir))
        settings = config.evaluate
        self._tta_settings = {
            "tta": settings.tta,
            "crops": settings.crops,
            "crop_side": settings.crop_side,
            "combine": settings.combine,
        }
        self.tta = tta.describe(**self._tta_settings)
        self.single_label = is_single_label(config.train.loss)
        if settings.single_label and not self.single_label:
            raise InputError(
                "config.evaluate.single_label=True is for config.evaluate.scores; this run has "
                f"learnt several labels an image (config.train.loss={config.train.loss!r})"
            )
        if self.single_label and settings.crops and settings.combine == "max":
            raise InputError(
                "config.evaluate.combine=max: the run has learnt one label for each image "
                f"(config.train.loss={config.train.loss!r}), whose probabilities sum to 1, and "
                "the largest of several crops would not; choose mean"
            )
        self.record = read_record(workdir)
        data = pipeline.choose_versions(config.data, self.record.datasets, self.record.images)
        config = dataclasses.replace(config, data=data)
        self.config = config
        self.mesh = parts.make_mesh(config.data, config.model, config.devices.space)
        self.label_ids = config.label_ids()
        self.labels = config.label_names()
        self.image_size = config.data.image_size
        self.workdir = workdir
        self._checkpoint = ChosenCheckpoint(config, workdir)

    @property
    def step(self) -> int:
        return self._checkpoint.step

    @property
    def written(self) -> str | int | None:
        return self._checkpoint.written

    @property
    def thresholds(self) -> np.ndarray:
        without_evaluation = [0.5] * len(self.labels)
        return np.array(self._checkpoint.metrics.get("thresholds", without_evaluation))

    @property
    def thresholds_split(self) -> str | None:
        metrics = self._checkpoint.metrics
        return metrics.get("thresholds_split", metrics.get("evaluated_split"))

    @property
    def votes(self) -> dict | None:
        """What a fused net's votes weigh and bring (`hpa_jax.metrics.vote_weight`); None: none."""
        return self._checkpoint.metrics.get("votes")

    def decide(self, scores: np.ndarray, *, fill_empty: bool = False) -> np.ndarray:
        """The labels of images, bool `[N, L]`, by their scores, float `[N, L]`.

        Args:
          scores: as a call returns them.
          fill_empty: as for `hpa_jax.metrics.thresholds.decide`.
        """
        if self.single_label:
            return single_label.decide(scores)
        return thresholds.decide(scores, self.thresholds, fill_empty=fill_empty)

    def __call__(self, images: np.ndarray | Iterable[np.ndarray]) -> np.ndarray:
        """Scores images, in batches of the run's size.

        Args:
          images: uint8 `[N, H, W, 4]` (red, green, blue, yellow), H = W = `image_size`, or any
            iterable of such images `[H, W, 4]`.

        Returns:
          float32 `[N, L]`, the probability of each label.

        Raises:
          InputError: an image of another type or shape, or scores that are not finite.
        """
        batch_size = self.config.data.batch_size
        remaining = iter(images)
        scores = [np.zeros((0, len(self.labels)), np.float32)]
        start = 0
        while batch := list(islice(remaining, batch_size)):
            for offset, image in enumerate(batch):
                self._check_image(image, start + offset)
            # One shape of batch means one compilation: the last one is filled up with black images.
            filled = np.zeros((batch_size, *batch[0].shape), np.uint8)
            filled[: len(batch)] = batch
            scores.append(self._score_batch(filled)[: len(batch)])
            start += len(batch)
        found = np.concatenate(scores)
        self.check_scores(found, [f"image {position}" for position in range(start)])
        return found

    def _check_image(self, image: np.ndarray, position: int) -> None:
        shape = (self.image_size, self.image_size, len(CHANNELS))
        if image.dtype != np.uint8 or image.shape != shape:
            raise InputError(
                f"image {position} is {image.dtype} {list(image.shape)}: this run takes uint8 "
                f"{list(shape)}; resize or convert it"
            )

    def check_scores(self, scores: np.ndarray, names: Sequence[str]) -> None:
        """Refuses scores, float32 `[N, L]`, that are not numbers; `names` of the N images."""
        wrong = ~np.isfinite(scores)
        if not wrong.any():
            return
        images = wrong.any(axis=1)
        labels = [self.labels[i] for i in np.flatnonzero(wrong.any(axis=0))]
        first = names[int(np.argmax(images))]
        raise InputError(
            f"{self.workdir}: checkpoint {self.step} gives scores that are not finite for "
            f"{int(images.sum())} of {len(scores)} images, the first of them {first}, and for "
            f"{len(labels)} of {len(self.labels)} labels, the first of them {labels[0]}; nothing "
            "was written; choose another --config.evaluate.checkpoint"
        )

    @cached_property
    def _score_batch(self) -> Callable[[np.ndarray], np.ndarray]:
        return self.make_scorer(self.config)

    @cached_property
    def variables(self) -> dict:
        """`{'params', 'batch_stats'}` on the devices; the averaged ones if the run has them.

        Reading them may choose the checkpoint again, if it was removed meanwhile: what is said of
        it (`step`, `written`, the thresholds) is of the one that was read.
        """
        # What is None is not read: Adam's state is twice as large as the net.
        state = components.Setup(self.config, self.mesh).abstract_state().replace(opt_state=None)
        memory.rooms(self.mesh.devices.flat).check(
            "the net", memory.bytes_of(state), advice="it needs a machine with more memory"
        )
        return eval_variables(self._checkpoint.restore(state))

    def preparations(self) -> dict[str, dict]:
        """How the images were made that the run learns from (`trained_preparations`)."""
        return trained_preparations(self.workdir, self.config.data)

    def acquisition_warnings(self, names: Sequence[str]) -> list[str]:
        """A line for each way in which the images of datasets are not as the run knows them."""
        return acquisition_warnings(self.workdir, self.config.data, names)

    def make_scorer(
        self, config: Config, *, votes: bool = True
    ) -> Callable[[np.ndarray], np.ndarray]:
        """A function of uint8 `[B, H, W, 4]` that returns scores `float32 [B, L]`.

        Args:
          config: `config.data.name` decides which channel statistics normalize the images.
          votes: as of `hpa_jax.training.parts.make_net`.
        """
        model = parts.make_net(config, votes=votes)
        preparation = normalize.preparation(config.data)
        score_step = make_score_step(model, preparation=preparation, mesh=self.mesh)
        tta_score_step = tta.make_tta_score_step(
            score_step, **self._tta_settings, single_label=self.single_label
        )
        jitted = jax.jit(tta_score_step, out_shardings=batch_sharding(self.mesh))
        program = None

        def score_batch(images: np.ndarray) -> np.ndarray:
            nonlocal program
            batch = put_batch({"image": images}, self.mesh)
            arguments = (self.variables, batch["image"])
            if program is None:
                program = memory.compile_within(
                    "scoring a batch",
                    jitted,
                    *arguments,
                    devices=self.mesh.devices.flat,
                    advice=memory.advice(config, "evaluate"),
                )
            return np.asarray(program(*arguments))

        return score_batch
