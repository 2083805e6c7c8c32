"""A backbone and a head under one roof, the table that names the backbones, and what fits together.

Unusual: the two halves can be called apart, `model.apply(variables, images, train=False, method="features")`, which is
what class-activation maps need; the variables are named `backbone/...` and `head/...` either way.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from hpa_jax.errors import InputError
from hpa_jax.models.all_cnn import AllCNN
from hpa_jax.models.densenet import BLOCKS, DEPTHS, DenseNet
from hpa_jax.models.heads import HEADS, HPA_DENSENET_CHANNELS, HPA_DENSENET_LIMIT
from hpa_jax.models.inception_resnet import InceptionResNet
from hpa_jax.models.resnet import ResNet
from hpa_jax.models.tiling import tiled_features

BACKBONES = {
    "all_cnn": AllCNN,
    **{name: partial(DenseNet, depths=depths) for name, depths in DEPTHS.items()},
    "inception_resnet_v2": InceptionResNet,
    "resnet50": ResNet,
    # A DenseNet that compiles in seconds: for trying out a pipeline on a laptop, not for results.
    "densenet_tiny": partial(DenseNet, depths=(1, 2, 2, 1), growth=8, stem=16),
    # And one that two cores can train in minutes to tell recipes apart: benchmarks/learning.py.
    "densenet_small": partial(DenseNet, depths=(2, 4, 6, 4), growth=8, stem=16),
}


class Classifier(nn.Module):
    """Normalised images to logits.

    Attributes:
      backbone: one of BACKBONES.
      head: one of HEADS.
      labels: number of logits.
      dropout: share of the head's inputs that training drops; All-CNN drops within, too (all_cnn.py).
      momentum: share of the old running statistics that a training step keeps.
      dtype: of the arithmetic; parameters, statistics and logits are float32.
      block: how a DenseNet's blocks are computed in training.
      mesh: over which its images are then cut.
      tile: px a side of the tiles that the backbone sees one after the other (tiles.py); 0: whole images.
    """

    backbone: str = "densenet121"
    head: str = "pooled"
    labels: int = 28
    dropout: float = 0.5
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    block: str = "plain"
    mesh: Mesh | None = None
    tile: int = 0

    def setup(self):
        shared = {"dropout": self.dropout, "momentum": self.momentum, "dtype": self.dtype}
        how = {} if self.block == "plain" else {"block": self.block, "mesh": self.mesh}
        self._backbone = BACKBONES[self.backbone](**shared, **how, name="backbone")
        self._head = HEADS[self.head](self.labels, **shared, name="head")

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to logits `float32 [B, labels]`; training needs an rng named 'dropout'."""
        return self.classify(self.features(images, train=train), train=train)

    def features(self, images: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to the backbone's last map, `dtype [B, h, w, F]`; of tiles, `float32`, a place each."""
        if self.tile:
            return tiled_features(self._backbone, images.astype(self.dtype), self.tile, train=train)
        return self._backbone(images.astype(self.dtype), train=train)

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        """The backbone's last map `[B, h, w, F]` to logits `float32 [B, labels]`."""
        return self._head(features, train=train)


def build_model(
    name: str,
    *,
    head: str,
    labels: int,
    dropout: float = 0.5,
    momentum: float = 0.9,
    dtype: str = "float32",
    block: str = "plain",
    mesh: Mesh | None = None,
    tile: int = 0,
) -> Classifier:
    """A net by its name; `mesh` is that of a training step whose images are cut.

    Raises:
      InputError: a name that is not in its table, where the error lists what is; or a head of another net.
    """
    for what, value, known in (
        ("model.name", name, BACKBONES),
        ("model.head", head, HEADS),
        ("model.dtype", dtype, ("float32", "bfloat16")),
        ("model.block", block, BLOCKS),
    ):
        if value not in known:
            raise InputError(
                f"config.{what}={value!r} is unknown; choose one of {', '.join(known)}"
            )
    if head in BACKBONES and head != name:
        others = ", ".join(h for h in HEADS if h not in BACKBONES)
        raise InputError(
            f"config.model.head={head!r} goes with that net alone; config.model.name={name!r} takes {others}"
        )
    if tile and head != "attention":
        raise InputError(
            f"config.model.tile={tile} goes with config.model.head='attention', not {head!r}"
        )
    if block != "plain" and not hasattr(BACKBONES[name](), "block"):
        raise InputError(
            f"config.model.block={block!r} is a DenseNet's; config.model.name={name!r} takes plain alone"
        )
    return Classifier(name, head, labels, dropout, momentum, jnp.dtype(dtype), block, mesh, tile)


def split_multiple(name: str) -> int:
    """By what a net divides a height that all its maps divide evenly: what cutting images over devices asks (mesh.py).

    0 for nets that have no such height: they shrink images without padding them.
    """
    return getattr(BACKBONES[name](), "SPLIT_MULTIPLE", 0) if name in BACKBONES else 0


def check_size(model: Classifier, image_shape: tuple[int, int, int]) -> None:
    """Refuses images that a net cannot take, before anything is traced.

    Args:
      model: of `build_model`.
      image_shape: height, width (px) and channels.

    Raises:
      InputError: a side below the backbone's least, or a flatten head over too large a map.
    """
    net, (height, width, _) = BACKBONES[model.backbone](), image_shape
    if min(height, width) < net.LEAST_SIDE:
        raise InputError(
            f"config.model.name={model.backbone!r} takes images of at least {net.LEAST_SIDE} px a side, not {height} x "
            f"{width}; set config.data.image_size"
        )
    tile = model.tile
    if tile and (height % tile or width % tile or tile < net.LEAST_SIDE):
        near = max(1, round(height / tile)) * tile
        raise InputError(
            f"config.model.tile={tile} does not cut images of {height} x {width} px into tiles of {net.LEAST_SIDE} px "
            f"or more; choose a size that divides the side, or config.data.image_size={near}"
        )
    values = HPA_DENSENET_CHANNELS * net.map_side(height) * net.map_side(width)
    if model.head == "seed" and values > HPA_DENSENET_LIMIT:
        raise InputError(
            f"config.model.head='seed' on config.model.name={model.backbone!r} flattens {values:,} values at {height} "
            f"x {width} px, {HPA_DENSENET_LIMIT:,} at most; use --config.model.head=pooled or a smaller config.data.image_size"
        )
