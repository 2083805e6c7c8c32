"""The bank of a fused net: which training images it keeps, and what the parts make of them.

It is filled once, before the first step, since the parts never move. Images are taken as in
evaluation, not augmented.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from hpa_jax.config import Config
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.data.loader import eval_batches
from hpa_jax.models import FusionNet
from hpa_jax.parallel.memory import advice, compile_within
from hpa_jax.parallel.mesh import process_slice, put_batch, put_replicated, replicated
from hpa_jax.training.steps import preparation_of
from hpa_jax.transforms.augment import prepare
from hpa_jax.transforms.normalize import preparation_by_source

BANK = "bank"
"""Its name below `params/backbone/`."""


def choose_images(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which images the bank keeps, where it cannot keep all.

    The labels take turns, so that a rare label is there as often as it can be: an image comes when
    the first of its labels asks for it. Within a label the order is drawn; images without any take
    their turn as those of one label more.

    Args:
      targets: 0/1 `[N, L]`.
      count: how many, at most N.
      seed: of the draw.

    Returns:
      int64 `[count]`, ascending.
    """
    drawn = np.random.default_rng(seed).permutation(len(targets))
    without = ~targets.any(axis=1, keepdims=True)
    has_label = np.concatenate([targets > 0, without], axis=1)[drawn]
    # The turn in which a label asks for an image, from 1.
    turns = np.where(has_label, np.cumsum(has_label, axis=0), len(targets) + 1)
    first = np.argsort(turns.min(axis=1), kind="stable")
    return np.sort(drawn[first[:count]])


class ChosenImages:
    """Some images of a dataset, as the loader reads a dataset."""

    def __init__(self, dataset: ConcatDataset, places: np.ndarray):
        self.image_shape = dataset.image_shape
        self.num_labels = dataset.num_labels
        self.check_one_size = dataset.check_one_size
        self.read_ahead = dataset.read_ahead
        self._dataset = dataset
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> dict:
        return self._dataset[int(self._places[i])]

    def announce(self, images: Iterable[int]) -> None:
        """As of `ImageDataset`."""
        self._dataset.announce(int(self._places[i]) for i in images)


def fill_bank(
    config: Config, model: FusionNet, variables: dict, dataset: ConcatDataset, mesh: Mesh
) -> dict:
    """The net with its bank filled.

    Args:
      config: of the run, resolved.
      model: in its plain form.
      variables: `{'params', 'batch_stats'}` with trained parts, on the host.
      dataset: the images to train on.
      mesh: of the devices.

    Returns:
      Variables of the same structure.
    """
    targets = dataset.targets()
    places = choose_images(targets, config.fusion.images, config.train.seed)
    embeddings = _embed(config, model, variables, ChosenImages(dataset, places), mesh)
    mean = embeddings.mean(axis=0)
    moved = embeddings - mean
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    bank = {
        "embeddings": moved / np.maximum(lengths, 1e-6),
        "targets": targets[places].astype(np.float32),
        "mean": mean,
        "weight": np.zeros(1, np.float32),
    }
    backbone = variables["params"]["backbone"] | {BANK: bank}
    return variables | {"params": variables["params"] | {"backbone": backbone}}


def _embed(
    config: Config, model: FusionNet, variables: dict, images: ChosenImages, mesh: Mesh
) -> np.ndarray:
    """Embeddings of images, `float32 [N, F]`, in their order."""
    preparation = preparation_by_source(config.data)

    def embed(variables: dict, batch: dict) -> jax.Array:
        prepared = prepare(batch["image"], **preparation_of(batch, preparation))
        features = model.apply(variables, prepared, train=False, method="features")
        return jnp.mean(features, axis=(1, 2))

    # Every process needs all of them: they become parameters.
    jitted = jax.jit(embed, out_shardings=replicated(mesh))
    on_devices = put_replicated(variables, mesh)
    size = config.data.batch_size
    # Filled up with images that are there, which have a source.
    filled = np.resize(np.arange(len(images)), -(-len(images) // size) * size)
    batches = eval_batches(
        ChosenImages(images, filled),
        batch_size=size,
        threads=config.data.threads,
        **process_slice(),
    )
    found = []
    program = None
    silent = True if jax.process_index() else None
    with tqdm(total=len(filled), unit="image", desc="the bank", disable=silent) as bar:
        for batch in batches:
            arrays = {name: batch[name] for name in ("image", "source")}
            arguments = (on_devices, put_batch(arrays, mesh))
            if program is None:
                program = compile_within(
                    "embedding a batch",
                    jitted,
                    *arguments,
                    devices=mesh.devices.flat,
                    advice=advice(config),
                )
            found.append(np.asarray(program(*arguments)))
            bar.update(size)
    return np.concatenate(found)[: len(images)]
