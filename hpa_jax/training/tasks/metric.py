"""The task `metric`: embeddings, near for images that belong together."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.group_sampler import GroupOrder
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import retrieval
from hpa_jax.models import check_size
from hpa_jax.parallel.mesh import batch_sharding, replicated
from hpa_jax.training import parts
from hpa_jax.training.metric_steps import make_embed_step, metric_objective
from hpa_jax.training.retrieval_evaluator import RetrievalEvaluator
from hpa_jax.training.steps import make_statistics_step
from hpa_jax.training.tasks.task import EvaluationStep, Task
from hpa_jax.training.update import Objective
from hpa_jax.transforms.normalize import preparation, preparation_by_source

# What goes with labels alone, or with another order of the images, and its value that is none.
_NOT_TAKEN = (
    ("train", "retrain_head", ""),
    ("train", "prior_bias", False),
    ("model", "tile", 0),
    ("augment", "mixup", 0.0),
    ("augment", "cutmix", 0.0),
    ("augment", "only_rare", False),
    ("data", "sampling", "uniform"),
)


class MetricTask(Task):
    """Embeddings of unit length, by ArcFace or a supervised contrastive loss (section `metric`).

    Args:
      config, mesh: as of `Task`.
    """

    LEARNS = "embeddings"
    AFTERWARDS = "--mode=export and probe and, with the export, python -m hpa_jax.serving similar"

    def __init__(self, config: Config, mesh: Mesh):
        super().__init__(config, mesh)
        _refuse_settings(config)
        if config.metric.loss == "arcface" and not config.metric.num_classes:
            raise InputError(
                "config.metric.num_classes=0: with config.metric.loss='arcface' the net has a "
                "direction for each class of the images to train on, which are not read here; "
                "give their number, such as config.metric.num_classes=12815"
            )
        self.input_shape = parts.input_shape(config.data)
        self.model = parts.make_metric_net(config.model, config.metric)
        self._num_labels = len(config.data.label_ids())

    @staticmethod
    def metric_names(config: Config) -> tuple[str, ...]:
        del config
        return retrieval.METRICS

    @staticmethod
    def open_sources(config: Config) -> ConcatDataset:
        dataset = pipeline.open_sources(config.data)
        dataset.add_values("class", image_classes(config, dataset))
        return dataset

    @staticmethod
    def resolve(config: Config, dataset: ConcatDataset) -> Config:
        num_classes = 0
        if config.metric.loss == "arcface":
            num_classes = int(image_classes(config, dataset).max()) + 1
        metric = dataclasses.replace(config.metric, num_classes=num_classes)
        return dataclasses.replace(config, metric=metric)

    @staticmethod
    def check_data(config: Config, dataset: ConcatDataset, eval_dataset: ImageDataset) -> None:
        _refuse_settings(config)
        rule = config.metric.relevance
        if not retrieval.can_be_asked(eval_dataset.targets(), eval_dataset.groups(), rule):
            raise InputError(
                f"no image of {config.data.eval_split} of {config.data.name} has one of its kind "
                f"in another group (config.metric.relevance={rule!r}): there is nothing to "
                "retrieve; evaluate on a split with more images, or by another rule"
            )

    @staticmethod
    def make_order(config: Config, dataset: ConcatDataset) -> GroupOrder:
        each = config.metric.images_per_group
        return GroupOrder(
            image_classes(config, dataset),
            config.train.seed,
            per_batch=config.data.batch_size // each,
            images_each=each,
        )

    def batch_arrays(self, image_shape: tuple[int, int, int]) -> dict[str, tuple]:
        return {
            "image": (image_shape, np.uint8),
            "targets": ((self._num_labels,), np.uint8),
            "class": ((), np.int32),
            "source": ((), np.int32),
        }

    def abstract_variables(self) -> dict:
        check_size(self.model, self.input_shape)
        return super().abstract_variables()

    def initial_variables(self, dataset: ConcatDataset | None = None) -> dict:
        del dataset
        return parts.initial_variables(self.model, self.input_shape, self.config.train.seed)

    def objective(self, dataset: ConcatDataset | None, num_steps: int) -> Objective:
        del dataset, num_steps
        config = self.config
        return metric_objective(
            parts.make_metric_net(config.model, config.metric, self.mesh),
            config.metric,
            augmentation=parts.augmentation(config.augment, self.mesh),
            preparation=preparation_by_source(config.data),
            mesh=self.mesh,
        )

    def make_statistics_step(self) -> Callable[[dict, dict], dict]:
        model = self.config.model
        bare = dataclasses.replace(model, dropout=0.0, stochastic_depth=0.0, bn_momentum=0.0)
        return make_statistics_step(
            parts.make_metric_net(bare, self.config.metric),
            preparation=preparation_by_source(self.config.data),
            mesh=self.mesh,
        )

    def make_evaluator(self, dataset: ImageDataset, advice: str) -> RetrievalEvaluator:
        data = self.config.data
        return RetrievalEvaluator(
            dataset,
            self.mesh,
            self._make_embed_step(),
            embedding_size=self.config.metric.embedding_size,
            split=data.eval_split,
            relevance=self.config.metric.relevance,
            batch_size=data.batch_size,
            threads=data.threads,
            advice=advice,
        )

    def _make_embed_step(self) -> jax.stages.Wrapped:
        return make_embed_step(self.model, preparation(self.config.data), self.mesh)

    def evaluation_step(self, variables: dict) -> EvaluationStep:
        images = self.config.data.batch_size
        before = jax.ShapeDtypeStruct(
            (images, self.config.metric.embedding_size),
            np.float32,
            sharding=replicated(self.mesh),
        )
        batch = {
            "image": jax.ShapeDtypeStruct(
                (images, *self.input_shape[:2], len(CHANNELS)),
                np.uint8,
                sharding=batch_sharding(self.mesh),
            )
        }
        return EvaluationStep(self._make_embed_step(), (before, variables, batch))

    def describe_net(self) -> str:
        config = self.config
        size = config.metric.embedding_size
        learnt = f"{config.model.name} with embeddings of {size} values, {config.metric.loss}"
        if config.metric.num_classes:
            learnt += f" over {config.metric.num_classes:,} {_NAMES[config.metric.target]}"
        return learnt

    def describe_evaluation(self, metrics: dict[str, Any], ranking: str) -> str:
        shown = ""
        if ranking not in ("retrieval_map", "recall_at_1"):
            shown = f"{ranking} {metrics[ranking]:.4f}; "
        return (
            f"{shown}retrieval across groups: mean average precision "
            f"{metrics['retrieval_map']:.4f}, recall at 1 {metrics['recall_at_1']:.4f} "
            f"({metrics['queries']} images asked)"
        )


_NAMES = {"groups": "groups", "label_sets": "sets of labels"}


def image_classes(config: Config, dataset: ConcatDataset) -> np.ndarray:
    """What belongs together, as `config.metric.target` says: int32 [N], 0 to C - 1.

    Images without labels are a set of labels too, the empty one.
    """
    if config.metric.target == "groups":
        named = np.unique(dataset.groups(), return_inverse=True)[1]
    else:
        named = np.unique(dataset.targets(), axis=0, return_inverse=True)[1]
    return named.reshape(-1).astype(np.int32)


def _refuse_settings(config: Config) -> None:
    for section, name, without in _NOT_TAKEN:
        value = getattr(getattr(config, section), name)
        if value != without:
            raise InputError(
                f"config.{section}.{name}={value!r} does not go with config.train.task='metric'; "
                f"set it to {without!r}"
            )
    if len(set(config.data.source_weights())) > 1:
        raise InputError(
            f"config.data.sources={config.data.sources!r}: with config.train.task='metric' groups "
            "are drawn, each as often as any other; leave the weights out"
        )
    each = config.metric.images_per_group
    if config.data.batch_size % each:
        raise InputError(
            f"config.data.batch_size={config.data.batch_size} is no multiple of "
            f"config.metric.images_per_group={each}; choose a multiple"
        )
