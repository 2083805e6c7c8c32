"""The task `cells`: which labels a field's cells have, learnt from those of the field.

Design:
- the threads that read cut out the cells; a batch is B fields of C places, so that shapes are
  fixed. Places without a cell of their own repeat the field's cells, and have no weight;
- `data.image_size` is the side of a crop, which is what the net takes. Fields are read as stored;
- each crop is augmented and normalized like an image of its own;
- what is evaluated are fields, since no cell is labelled.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.models import init_variables, prior_bias
from hpa_jax.parallel.mesh import batch_sharding
from hpa_jax.segmentation.bags import cell_bag
from hpa_jax.segmentation.crops import CropRule, parse_window
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.mask_folder import MaskFolder
from hpa_jax.training import parts
from hpa_jax.training.evaluator import Evaluator, make_counting
from hpa_jax.training.steps import preparation_of
from hpa_jax.training.tasks.classification import ClassificationTask
from hpa_jax.training.tasks.task import EvaluationStep
from hpa_jax.training.update import Objective
from hpa_jax.transforms.augment import augment_images, prepare
from hpa_jax.transforms.normalize import preparation, preparation_by_source

# Settings that are of images, and what they have to be.
_OF_IMAGES = {
    "augment.mixup": 0.0,
    "augment.cutmix": 0.0,
    "augment.only_rare": False,
    "augment.generated": "",
    "model.tile": 0,
    "train.retrain_head": "",
    "train.ema": 0.0,
}


class CellTask(ClassificationTask):
    """Logits of fields from those of their cells (`hpa_jax.models.cell_attention`).

    Args:
      config, mesh: as of `Task`.

    Raises:
      InputError: a setting that is of images, or devices that share the height of one.
    """

    LEARNS = "labels of cells"
    AFTERWARDS = "--mode=export, and predict with config.predict.images and config.predict.cells"

    def __init__(self, config: Config, mesh: Mesh):
        super().__init__(config, mesh)
        _check(config, mesh, self.single_label)
        self.places = config.cells.per_field
        self.model = parts.make_cell_net(config)

    @staticmethod
    def open_sources(config: Config) -> ConcatDataset:
        return pipeline.open_sources(_as_stored(config), **_reading(config))

    @staticmethod
    def open_split(config: Config, split: str) -> ImageDataset:
        return pipeline.open_split(_as_stored(config), split, **_reading(config))

    def batch_arrays(self, image_shape: tuple[int, int, int]) -> dict[str, tuple]:
        height, width, _ = self.input_shape
        return {
            "crops": ((self.places, height, width, len(CHANNELS)), np.uint8),
            "is_cell": ((self.places,), np.bool_),
            "targets": ((len(self.config.data.label_ids()),), np.uint8),
            "source": ((), np.int32),
        }

    def abstract_inputs(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, self.places, *self.input_shape), np.float32)

    def initial_variables(self, dataset: ConcatDataset | None = None) -> dict:
        train = self.config.train
        variables = init_variables(self.model, (self.places, *self.input_shape), train.seed)
        if train.prior_bias and dataset is not None:
            bias = prior_bias(dataset.targets().mean(0))
            variables["params"]["head"]["logits"]["bias"] = bias
        return variables

    def objective(self, dataset: ConcatDataset | None, num_steps: int) -> Objective:
        config = self.config
        num_labels = len(config.data.label_ids())
        # Each label once, where there is no dataset.
        targets = np.eye(num_labels, dtype=np.uint8) if dataset is None else dataset.targets()
        loss = parts.make_loss_from(config.loss, config.train.loss, targets, num_steps)
        augmentation = parts.augmentation(config.augment, self.mesh)
        settings = preparation_by_source(config.data)
        model = self.model

        def prepare_batch(batch: dict, key: jax.Array) -> tuple:
            images = _as_images(batch["crops"])
            images = augment_images(images, key, **augmentation)
            of_crops = {"source": jnp.repeat(batch["source"], self.places)}
            images = prepare(images, **preparation_of(of_crops, settings))
            crops = images.reshape(*batch["crops"].shape[:-1], -1)
            return crops, batch["is_cell"], batch["targets"]

        def batch_loss(variables: dict, inputs: tuple, step: jax.Array, key: jax.Array):
            crops, is_cell, targets = inputs
            logits, updates = model.apply(
                variables,
                crops,
                is_cell,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            accuracy = jnp.mean((logits > 0) == (targets > 0))
            value = loss(logits, targets, step)
            return value, ({"accuracy": accuracy}, updates.get("batch_stats", {}))

        return Objective(prepare_batch, batch_loss)

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
            single_label=False,
            advice=advice,
            inputs=("crops", "is_cell"),
        )

    def _make_count_step(self) -> jax.stages.Wrapped:
        settings = preparation(self.config.data)

        def score(variables: dict, batch: dict) -> jax.Array:
            images = prepare(_as_images(batch["crops"]), **settings)
            crops = images.reshape(*batch["crops"].shape[:-1], -1)
            return self.model.apply(variables, crops, batch["is_cell"], train=False)

        return make_counting(score, self.mesh, single_label=False)

    def evaluation_step(self, variables: dict) -> EvaluationStep:
        of_images = super().evaluation_step(variables)
        counts, _, images = of_images.arguments
        batch = {name: images[name] for name in ("targets", "mask")}
        sharding = batch_sharding(self.mesh)
        for name, (shape, dtype) in self.batch_arrays(self.input_shape).items():
            if name in ("crops", "is_cell"):
                shape = (self.config.data.batch_size, *shape)
                batch[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
        return EvaluationStep(of_images.function, (counts, variables, batch))

    def describe_net(self) -> str:
        return f"{super().describe_net()} on {self.places} cells a field"


@dataclasses.dataclass(frozen=True)
class CellCrops:
    """Makes a bag of cells of a field that was read; see `segmentation.bags`.

    Attributes:
      rule: how cells are cut out.
      places: cells of a field.
      masks: label images by Id; None: the field has its masks with it.
    """

    rule: CropRule
    places: int
    masks: MaskFolder | None = None

    def __call__(self, example: dict) -> dict:
        """The example with `crops` uint8 [C, S, S, 4] and `is_cell` bool [C], without its image."""
        kept = dict(example)
        field = kept.pop("image")
        masks = kept.pop("masks", None)
        if masks is not None:
            cells, nuclei = np.moveaxis(masks.astype(np.int32), -1, 0)
            instances = Instances(cells, nuclei)
        elif example["id"]:
            instances = self.masks.read(example["id"], *field.shape[:2])
        else:
            nothing = np.zeros(field.shape[:2], np.int32)
            instances = Instances(nothing, nothing)
        crops, is_cell = cell_bag(field, instances, self.rule, self.places)
        return {**kept, "crops": crops, "is_cell": is_cell}


def _reading(config: Config) -> dict:
    """Keyword arguments of `pipeline.open_split`."""
    settings = config.cells
    window = parse_window(settings.window, "config.cells.window")
    rule = CropRule(_crop_size(config), window, settings.keep_neighbours)
    masks = MaskFolder(local_path(settings.masks, "config.cells.masks")) if settings.masks else None
    return {
        "with_masks": masks is None,
        "transform": CellCrops(rule, settings.per_field, masks),
    }


def _crop_size(config: Config) -> int:
    if not config.data.image_size:
        raise InputError(
            "config.data.image_size is the side of a crop with config.train.task='cells'; give it: "
            "--config.data.image_size=64"
        )
    return config.data.image_size


def _as_stored(config: Config):
    """The section `data` with which fields are read as they are stored."""
    return dataclasses.replace(config.data, image_size=0)


def _as_images(crops: jax.Array) -> jax.Array:
    """`[B, C, S, S, 4]` to `[B C, S, S, 4]`."""
    return crops.reshape(-1, *crops.shape[2:])


def _check(config: Config, mesh: Mesh, single_label: bool) -> None:
    for name, wanted in _OF_IMAGES.items():
        section, field = name.split(".")
        found = getattr(getattr(config, section), field)
        if found != wanted:
            raise InputError(
                f"config.{name}={found!r} is not for config.train.task='cells'; set it to "
                f"{wanted!r}"
            )
    if single_label:
        raise InputError(
            f"config.train.loss={config.train.loss!r} is of images with one label each; "
            "config.train.task='cells' takes the others"
        )
    if mesh.shape["space"] > 1:
        raise InputError(
            "config.devices.space: with config.train.task='cells' devices share fields, not the "
            f"height of crops; give a config.data.batch_size that is a multiple of {mesh.size}"
        )
