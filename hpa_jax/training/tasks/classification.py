"""The task `classification`: which labels an image has. Several each, or exactly one."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config, listed
from hpa_jax.data import sampler
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.generated import GeneratedChannels
from hpa_jax.data.identity import count_known
from hpa_jax.environment.paths import local_path
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import histogram
from hpa_jax.metrics.checks import check_single_labels
from hpa_jax.models import check_size
from hpa_jax.optim.losses import is_single_label
from hpa_jax.parallel.mesh import batch_sharding, replicated
from hpa_jax.training import parts
from hpa_jax.training.evaluator import Evaluator, make_count_step, metric_names
from hpa_jax.training.fusion import is_fusion, resolve_fusion
from hpa_jax.training.steps import label_objective, make_statistics_step
from hpa_jax.training.tasks.task import EvaluationStep, Fit, Task
from hpa_jax.training.update import Objective
from hpa_jax.transforms.normalize import preparation, preparation_by_source

# Metrics that every evaluation line has.
_ALWAYS_SHOWN = ("macro_f1", "micro_f1", "accuracy", "mean_class_accuracy")


class ClassificationTask(Task):
    """Logits of labels, by one of the losses of `hpa_jax.optim.losses`.

    Attributes:
      single_label: every image has exactly one label, by the configured loss.

    Args:
      config, mesh: as of `Task`.
    """

    LEARNS = "labels"
    AFTERWARDS = "--mode=evaluate, predict, export, report and probe"

    def __init__(self, config: Config, mesh: Mesh):
        super().__init__(config, mesh)
        self.input_shape = parts.input_shape(config.data)
        self.single_label = is_single_label(config.train.loss)
        self.only_head = bool(config.train.retrain_head) or is_fusion(config)
        self._num_labels = len(config.data.label_ids())
        self.model = parts.make_net(config)

    @staticmethod
    def metric_names(config: Config) -> tuple[str, ...]:
        return metric_names(single_label=is_single_label(config.train.loss))

    @staticmethod
    def resolve(config: Config, dataset: ConcatDataset) -> Config:
        if is_fusion(config):
            return resolve_fusion(config, len(dataset))
        return config

    @staticmethod
    def check_data(config: Config, dataset: ConcatDataset, eval_dataset: ImageDataset) -> None:
        if not is_single_label(config.train.loss):
            return
        data = config.data
        for split, images in ((data.train_split, dataset), (data.eval_split, eval_dataset)):
            check_single_labels(images.targets(), images.ids(), f"images of {split}")

    @staticmethod
    def make_variation(config: Config, dataset: ConcatDataset) -> GeneratedChannels | None:
        augment = config.augment
        if not augment.generated:
            return None
        is_rare = sampler.rare_images(dataset.targets(), config.data.rare_below)
        ids = zip(dataset.original_ids(), dataset.ids(), is_rare, strict=True)
        return GeneratedChannels(
            [
                local_path(folder, "config.augment.generated")
                for folder in listed(augment.generated)
            ],
            {original: image_id for original, image_id, wanted in ids if wanted},
            probability=augment.generated_probability,
            seed=config.train.seed,
            aspect=config.data.aspect,
        )

    def batch_arrays(self, image_shape: tuple[int, int, int]) -> dict[str, tuple]:
        return {
            "image": (image_shape, np.uint8),
            "targets": ((self._num_labels,), np.uint8),
            "source": ((), np.int32),
        }

    def abstract_variables(self) -> dict:
        check_size(self.model, self.input_shape)
        return super().abstract_variables()

    def initial_variables(self, dataset: ConcatDataset | None = None) -> dict:
        train = self.config.train
        targets = None
        if train.prior_bias and dataset is not None:
            targets = dataset.targets()
        return parts.initial_variables(
            self.model, self.input_shape, train.seed, targets, single_label=self.single_label
        )

    def objective(self, dataset: ConcatDataset | None, num_steps: int) -> Objective:
        # Each label once, where there is no dataset.
        targets = np.eye(self._num_labels, dtype=np.uint8)
        if dataset is not None:
            targets = dataset.targets()
        config = self.config
        only_labels = None
        if config.augment.only_rare:
            is_rare = sampler.rare_labels(targets, config.data.rare_below)
            only_labels = tuple(np.flatnonzero(is_rare).tolist())
        return label_objective(
            parts.make_net(config, self.mesh, only_head=self.only_head),
            parts.make_loss_from(config.loss, config.train.loss, targets, num_steps),
            augmentation=parts.augmentation(config.augment, self.mesh),
            preparation=preparation_by_source(config.data),
            only_labels=only_labels,
            mixing=parts.mixing(config.augment, config.data.batch_size),
            single_label=self.single_label,
            mesh=self.mesh,
        )

    def make_statistics_step(self) -> Callable[[dict, dict], dict]:
        model = self.config.model
        bare = dataclasses.replace(model, dropout=0.0, stochastic_depth=0.0, bn_momentum=0.0)
        return make_statistics_step(
            parts.make_net(dataclasses.replace(self.config, model=bare), only_head=self.only_head),
            preparation=preparation_by_source(self.config.data),
            mesh=self.mesh,
        )

    def make_evaluator(self, dataset: ImageDataset, advice: str) -> Evaluator:
        data = self.config.data
        return Evaluator(
            dataset,
            self.mesh,
            self._make_count_step(),
            split=data.eval_split,
            batch_size=data.batch_size,
            threads=data.threads,
            few_positives=self.config.evaluate.few_positives,
            single_label=self.single_label,
            advice=advice,
        )

    def make_fitter(self, dataset: ImageDataset, learned: np.ndarray) -> Fit | None:
        if not (is_fusion(self.config) and self.config.fusion.images):
            return None
        # Among images that are in the bank the nearest neighbour of each would be itself.
        if count_known(dataset.ids(), learned):
            return None
        # Imported here: it brings SciPy's optimizers, half a second of every start.
        from hpa_jax.training.vote_fitter import VoteFitter

        return VoteFitter(self.config, self.model, dataset, self.mesh)

    def _make_count_step(self) -> jax.stages.Wrapped:
        return make_count_step(
            self.model,
            preparation(self.config.data),
            self.mesh,
            single_label=self.single_label,
        )

    def evaluation_step(self, variables: dict) -> EvaluationStep:
        num_labels = self._num_labels
        if self.single_label:
            counts = self._counts((num_labels, num_labels))
        else:
            by_label = self._counts((num_labels, histogram.BINS + 2))
            by_image = self._counts((num_labels + 1, 2 * num_labels + 1))
            counts = (histogram.ScoreCounts(by_label, by_label), by_image)
        images = self.config.data.batch_size
        sharding = batch_sharding(self.mesh)

        def batch_array(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((images, *shape), dtype, sharding=sharding)

        batch = {
            "image": batch_array((*self.input_shape[:2], len(CHANNELS)), np.uint8),
            "targets": batch_array((num_labels,), np.uint8),
            "mask": batch_array((), np.bool_),
        }
        return EvaluationStep(self._make_count_step(), (counts, variables, batch))

    def _counts(self, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, np.int32, sharding=replicated(self.mesh))

    def describe_net(self) -> str:
        model = self.config.model
        if is_fusion(self.config):
            return f"{' and '.join(self.config.fusion.parts)} fused"
        return f"{model.name} with the {model.head} head"

    def describe_evaluation(self, metrics: dict[str, Any], ranking: str) -> str:
        votes = ""
        if "votes" in metrics:
            votes = (
                f"; votes weigh {metrics['votes']['weight']:.2f} "
                f"({metrics['votes']['gain']:+.4f} macro F1 out of fold)"
            )
        shown = ""
        if ranking not in _ALWAYS_SHOWN:
            shown = f"{ranking} {metrics[ranking]:.4f}; "
        if "mean_class_accuracy" in metrics:
            return (
                f"{shown}accuracy {metrics['accuracy']:.4f}, "
                f"mean class accuracy {metrics['mean_class_accuracy']:.4f}, "
                f"macro F1 {metrics['macro_f1']:.4f}{votes}"
            )
        return (
            f"{shown}macro F1 {metrics['macro_f1']:.4f}, "
            f"micro F1 {metrics['micro_f1']:.4f}, "
            f"accuracy {metrics['accuracy']:.4f} at threshold 0.5{votes}"
        )
