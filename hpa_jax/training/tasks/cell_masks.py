"""The task `cell_masks`: a U-Net whose maps show each cell and nucleus (`segmentation/targets.py`).

Design:
- images are stretched and masks become maps on the host, by the threads that read. Symmetries of
  the square, which are drawn on the device, do to maps just what they do to images; windows and
  rotations would not, and are refused;
- what is compared at an evaluation are masks, which a watershed makes of the maps on the host.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Augment, Config
from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.masks import PLANES
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.models import init_variables
from hpa_jax.models.unet import UNet, create_unet
from hpa_jax.optim.map_losses import map_divergence
from hpa_jax.parallel.mesh import batch_sharding, image_replicator, row_sharder
from hpa_jax.segmentation.nuclei import nucleus_diameter
from hpa_jax.segmentation.stretch import stretch
from hpa_jax.segmentation.targets import MAPS, target_maps
from hpa_jax.training import parts
from hpa_jax.training.map_evaluator import METRICS, MapEvaluator, make_map_step
from hpa_jax.training.steps import make_statistics_step, preparation_of
from hpa_jax.training.tasks.task import EvaluationStep, Task
from hpa_jax.training.update import Objective
from hpa_jax.transforms.augment import augment_images, prepare
from hpa_jax.transforms.normalize import preparation, preparation_by_source

OUTPUT = "maps"
"""The name of the net's output: logits of `segmentation.targets.MAPS`."""

_WHITE = 255
_MEASURED_FIELDS = 64

# Beside the draws of the symmetries, which have the same key.
_INTENSITY_DRAWS = 1 << 19

# Settings of `augment` under which maps would not be those of the image; as long as they are at
# these values nothing moves but by symmetries.
_UNMOVED = {
    "rotate_degrees": 0.0,
    "scale": (1.0, 1.0),
    "shift": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "only_rare": False,
}


class CellMaskTask(Task):
    """Maps of cells and nuclei, learnt from exact masks.

    Args:
      config, mesh: as of `Task`.

    Raises:
      InputError: no such encoder, or an augmentation that masks cannot follow.
    """

    LEARNS = "where each cell is"
    AFTERWARDS = "--mode=export, and python -m hpa_jax.serving segment --method=unet"

    def __init__(self, config: Config, mesh: Mesh):
        super().__init__(config, mesh)
        _check_augmentation(config.augment)
        self.input_shape = parts.input_shape(config.data)
        self.model = cell_net(config)

    @staticmethod
    def metric_names(config: Config) -> tuple[str, ...]:
        return METRICS

    @staticmethod
    def open_sources(config: Config) -> ConcatDataset:
        return pipeline.open_sources(
            config.data, labels_needed=False, with_masks=True, transform=_to_maps
        )

    @staticmethod
    def open_split(config: Config, split: str) -> ImageDataset:
        return pipeline.open_split(
            config.data, split, labels_needed=False, with_masks=True, transform=_stretched
        )

    @staticmethod
    def resolve(config: Config, dataset: ConcatDataset) -> Config:
        """Measures the nuclei of the fields to train on, to which other fields will be scaled."""
        if config.cell_masks.nucleus_diameters:
            return config
        measured = measured_diameters(dataset)
        section = dataclasses.replace(config.cell_masks, nucleus_diameters=measured)
        return dataclasses.replace(config, cell_masks=section)

    def batch_arrays(self, image_shape: tuple[int, int, int]) -> dict[str, tuple]:
        return {
            "image": (image_shape, np.uint8),
            "maps": ((*image_shape[:2], len(MAPS)), np.uint8),
            "source": ((), np.int32),
        }

    def initial_variables(self, dataset: ConcatDataset | None = None) -> dict:
        return init_variables(self.model, self.input_shape, self.config.train.seed)

    def objective(self, dataset: ConcatDataset | None, num_steps: int) -> Objective:
        model = self.model
        settings = preparation_by_source(self.config.data)
        weights = _map_weights(self.config.cell_masks.distance_weight)
        augmented = _augmentation(self.config.augment, self.mesh)
        shard_rows = row_sharder(self.mesh)

        def prepare_batch(batch: dict, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            images, maps = augmented(batch["image"], batch["maps"], key)
            images = prepare(images, **preparation_of(batch, settings))
            return shard_rows(images), shard_rows(maps / _WHITE)

        def batch_loss(variables: dict, inputs: tuple, step: jax.Array, key: jax.Array):
            images, maps = inputs
            outputs, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
            logits = outputs[OUTPUT]
            value = jnp.sum(weights * map_divergence(logits, maps))
            fit = 1 - jnp.mean(jnp.abs(jax.nn.sigmoid(logits) - maps))
            return value, ({"map_fit": fit}, updates["batch_stats"])

        return Objective(prepare_batch, batch_loss)

    def make_statistics_step(self) -> Callable[[dict, dict], dict]:
        return make_statistics_step(
            cell_net(self.config, momentum=0.0),
            preparation=preparation_by_source(self.config.data),
            mesh=self.mesh,
        )

    def make_evaluator(self, dataset: ImageDataset, advice: str) -> MapEvaluator:
        data = self.config.data
        return MapEvaluator(
            dataset,
            self.mesh,
            self._make_map_step(),
            batch_size=data.batch_size,
            threads=data.threads,
            fields=self.config.cell_masks.eval_fields,
            advice=advice,
        )

    def _make_map_step(self) -> jax.stages.Wrapped:
        return make_map_step(self.model, OUTPUT, preparation(self.config.data), self.mesh)

    def evaluation_step(self, variables: dict) -> EvaluationStep:
        fields = self.config.data.batch_size
        side = self.input_shape[:2]
        sharding = batch_sharding(self.mesh)

        def batch_array(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((fields, *shape), dtype, sharding=sharding)

        batch = {
            "image": batch_array((*side, len(CHANNELS)), np.uint8),
            "masks": batch_array((*side, len(PLANES)), np.uint16),
            "mask": batch_array((), np.bool_),
        }
        return EvaluationStep(self._make_map_step(), (variables, batch))

    def describe_net(self) -> str:
        width = self.config.cell_masks.width
        return f"U-Net on {self.config.model.name}, {width} channels at full resolution"


def cell_net(config: Config, momentum: float | None = None) -> UNet:
    """The net of a configuration, to logits of MAPS under the name OUTPUT.

    Args:
      config: of the run.
      momentum: of the running statistics; None: as configured.
    """
    model = config.model
    return create_unet(
        model.name,
        outputs={OUTPUT: len(MAPS)},
        width=config.cell_masks.width,
        momentum=model.bn_momentum if momentum is None else momentum,
        dtype=model.dtype,
        block=model.block,
    )


def measured_diameters(dataset: ConcatDataset) -> tuple[float, ...]:
    """The smallest tenth, the median and the largest tenth of nuclear diameters of fields, px.

    Raises:
      InputError: no nucleus stands out in any of those that are looked at.
    """
    numbers = np.unique(np.linspace(0, len(dataset) - 1, _MEASURED_FIELDS).astype(int))
    diameters = []
    for number in numbers.tolist():
        blue = dataset[number]["image"][..., CHANNELS.index("blue")]
        diameters.append(nucleus_diameter(blue.astype(np.float32)))
    found = [diameter for diameter in diameters if diameter is not None]
    if not found:
        raise InputError("no nucleus stands out in the fields to train on; are they blue?")
    low, middle, high = np.quantile(found, (0.1, 0.5, 0.9)).round(2).tolist()
    return low, middle, high


def _stretched(example: dict) -> dict:
    """A field as the net sees it, with its masks."""
    return {**example, "image": stretch(example["image"])}


def _to_maps(example: dict) -> dict:
    """A field as the net sees it, with the maps of its masks in their place: uint8 [H, W, 4]."""
    stretched = _stretched(example)
    maps = target_maps(stretched.pop("masks"))
    return {**stretched, "maps": np.round(maps * _WHITE).astype(np.uint8)}


def _map_weights(distance_weight: float) -> jax.Array:
    weights = np.array([distance_weight if "distance" in name else 1.0 for name in MAPS])
    return jnp.asarray(weights / weights.sum(), jnp.float32)


def _augmentation(augment: Augment, mesh: Mesh) -> Callable:
    """Images, maps and a key to both, moved alike, float32; light varies in images alone."""
    placers = {"shard_rows": row_sharder(mesh), "replicate": image_replicator(mesh)}
    settings = parts.augmentation(augment, mesh)
    light = {
        name: settings[name] for name in ("protein_contrast", "contrast", "brightness", "exposure")
    }

    def augmented(images: jax.Array, maps: jax.Array, key: jax.Array):
        both = jnp.concatenate([images, maps], axis=-1)
        both = augment_images(both, key, flips=augment.flips, **placers)
        images = augment_images(
            both[..., : len(CHANNELS)],
            jax.random.fold_in(key, _INTENSITY_DRAWS),
            flips=False,
            channel_dropout=augment.channel_dropout,
            **light,
            **placers,
        )
        return images, both[..., len(CHANNELS) :]

    return augmented


def _check_augmentation(augment: Augment) -> None:
    for name, value in _UNMOVED.items():
        found = getattr(augment, name)
        if found != value:
            raise InputError(
                f"config.augment.{name}={found!r}: config.train.task='cell_masks' turns and "
                f"mirrors fields with their masks, and nothing else; set it to {value!r}"
            )
