"""A net: a backbone, which makes feature maps, and a head, which makes logits of them.

To add a net: write a backbone in a file of its own, as all_cnn.py, and name it in the table
`BACKBONES` below; `config.model.name` and `create_model` take it by that name. A backbone is a Flax
module with

    dropout, momentum, dtype       attributes, as those of `Classifier`; it may ignore them
    __call__(x, *, train)          `float [B, H, W, C]` to `dtype [B, h, w, F]`
    MIN_IMAGE_SIZE                 px a side, below which no feature map is left
    feature_map_size(image_size)   h of H, a static method
    SPLIT_MULTIPLE                 only if the height may be sharded over devices: what then has to
                                   divide each device's part
    stochastic_depth               an attribute, only if its blocks can be dropped by image
    STAGE_STRIDES                  only if it can be the encoder of a U-Net (unet.py): px to a
                                   position of each map of `stages`, powers of two, finest first
    stages(x, *, train)            with STAGE_STRIDES: the list of these maps. The last is what
                                   `__call__` gives. The side of each is the image's over its
                                   stride, where the last stride divides the image's sides

tests/models/test_classifier.py checks all of that for every entry of the table.

Design: the two halves can be called apart, `model.apply(variables, images, train=False,
method="features")`, as Grad-CAM does; the variables are named `backbone/...` and `head/...` either
way.
"""

from collections.abc import Collection
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from hpa_jax.errors import InputError
from hpa_jax.models.all_cnn import AllCNN
from hpa_jax.models.convnext import DEPTHS as CONVNEXT_DEPTHS
from hpa_jax.models.convnext import ConvNeXt
from hpa_jax.models.densenet import BLOCKS, DEPTHS, DenseNet
from hpa_jax.models.heads import HEADS, HPA_DENSENET_CHANNELS, HPA_DENSENET_MAX_VALUES
from hpa_jax.models.inception_resnet import InceptionResNet
from hpa_jax.models.resnet import ResNet
from hpa_jax.models.tiling import tiled_features

BACKBONES = {
    "all_cnn": AllCNN,
    "convnext_small": partial(ConvNeXt, depths=CONVNEXT_DEPTHS["convnext_small"]),
    "convnext_tiny": partial(ConvNeXt, depths=CONVNEXT_DEPTHS["convnext_tiny"]),
    "densenet121": partial(DenseNet, depths=DEPTHS["densenet121"]),
    "densenet169": partial(DenseNet, depths=DEPTHS["densenet169"]),
    "densenet201": partial(DenseNet, depths=DEPTHS["densenet201"]),
    "inception_resnet_v2": InceptionResNet,
    "resnet50": ResNet,
    # A DenseNet that compiles in seconds: for trying out a pipeline on a laptop, not for results.
    "densenet_tiny": partial(DenseNet, depths=(1, 2, 2, 1), growth=8, stem=16),
    # The same of ConvNeXts. The one that its paper calls tiny is none such.
    "convnext_test": partial(ConvNeXt, depths=(1, 1, 2, 1), widths=(8, 16, 24, 32)),
    # One that two cores train in minutes, to tell recipes apart: benchmarks/learning.py.
    "densenet_small": partial(DenseNet, depths=(2, 4, 6, 4), growth=8, stem=16),
    # Its companion of another kind, for what is made of several nets: benchmarks/fusion.py.
    "resnet_small": partial(ResNet, depths=(1, 2, 2, 1), width=16),
    # For single cells: in equal time on a core it learns more from them than DenseNet-121.
    "densenet_medium": partial(DenseNet, depths=(4, 6, 10, 8), growth=12, stem=24),
}

DTYPES = ("float32", "bfloat16")


class Classifier(nn.Module):
    """Normalized images to logits.

    Attributes:
      backbone: one of BACKBONES.
      head: one of HEADS.
      num_labels: number of logits.
      dropout: fraction of the head's inputs that training drops; All-CNN drops within, too.
      momentum: fraction of the old running statistics that a training step keeps.
      dtype: of the arithmetic; parameters, statistics and logits are float32.
      block: the form of a DenseNet's blocks in training, one of densenet.BLOCKS.
      mesh: over which the images of a training step are sharded; needed by fused blocks only.
      kernels: fused blocks by Pallas kernels where there are any for the device.
      tile: px a side of the tiles that the backbone sees one after the other (tiling.py); 0: the
        complete image at once.
      frozen_backbone: in training too, the backbone does what it does in evaluation, and gets no
        gradient.
      stochastic_depth: fraction of the images that go past the last block of a ConvNeXt in
        training.
    """

    backbone: str = "densenet121"
    head: str = "pooled"
    num_labels: int = 28
    dropout: float = 0.5
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    block: str = "plain"
    mesh: Mesh | None = None
    kernels: bool = True
    tile: int = 0
    frozen_backbone: bool = False
    stochastic_depth: float = 0.0

    def setup(self):
        self._backbone = self.make_backbone()
        self._head = self.make_head()

    @nn.nowrap
    def make_backbone(self) -> nn.Module:
        """What makes feature maps of images; a fused net (fusion.py) has several as one."""
        # Not all nets have these attributes; `create_model` refuses them for the others.
        form = {}
        if self.block != "plain":
            form = {"block": self.block, "mesh": self.mesh, "kernels": self.kernels}
        if self.stochastic_depth:
            form["stochastic_depth"] = self.stochastic_depth
        return BACKBONES[self.backbone](
            dropout=self.dropout,
            momentum=self.momentum,
            dtype=self.dtype,
            name="backbone",
            **form,
        )

    def make_head(self) -> nn.Module:
        """What makes logits of feature maps; nets for other ends (metric_net.py) have another."""
        return HEADS[self.head](
            self.num_labels,
            dropout=self.dropout,
            momentum=self.momentum,
            dtype=self.dtype,
            name="head",
        )

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Logits of images.

        Args:
          images: `float [B, H, W, C]`.
          train: whether to drop and to use batch moments; needs an rng named 'dropout'.

        Returns:
          `float32 [B, num_labels]`.
        """
        if self.frozen_backbone:
            features = jax.lax.stop_gradient(self.features(images, train=False))
        else:
            features = self.features(images, train=train)
        return self.classify(features, train=train)

    def features(self, images: jax.Array, *, train: bool) -> jax.Array:
        """The backbone's feature map.

        Args:
          images: `float [B, H, W, C]`.
          train: as of `__call__`.

        Returns:
          `dtype [B, h, w, F]`; with tiles `float32`, one position per tile.
        """
        # Images arrive as float32 from their normalization.
        images = images.astype(self.dtype)
        if self.tile:
            return tiled_features(self._backbone, images, self.tile, train=train)
        return self._backbone(images, train=train)

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        """The feature map `[B, h, w, F]` to logits `float32 [B, num_labels]`."""
        return self._head(features, train=train)


def list_models() -> list[str]:
    """Names that `create_model` takes, sorted."""
    return sorted(BACKBONES)


def create_model(
    name: str,
    *,
    head: str = "pooled",
    num_labels: int = 28,
    dropout: float = 0.5,
    momentum: float = 0.9,
    dtype: str = "bfloat16",
    block: str = "plain",
    mesh: Mesh | None = None,
    kernels: bool = True,
    tile: int = 0,
    frozen_backbone: bool = False,
    stochastic_depth: float = 0.0,
) -> Classifier:
    """A net by its name, without parameters: `init_variables` draws them.

    Args:
      name: one of `list_models()`.
      head: one of HEADS.
      num_labels: number of logits.
      dropout: fraction of the head's inputs that training drops.
      momentum: fraction of the old running statistics that a training step keeps.
      dtype: of the arithmetic, 'float32' or 'bfloat16'; parameters, statistics and logits are
        float32.
      block: the form of a DenseNet's blocks in training: 'plain', 'remat' (less memory, more
        arithmetic) or 'fused' (least memory traffic).
      mesh: over which the images of a training step are sharded.
      kernels: fused blocks by Pallas kernels, on a TPU and on NVIDIA GPUs; False: by XLA.
      tile: px a side of the tiles that the 'attention' head weighs; 0: the complete image.
      frozen_backbone: the backbone stays as in evaluation while the head is trained.
      stochastic_depth: fraction of the images that go past the last block of a ConvNeXt in
        training; past earlier blocks fewer, none past the first.

    Returns:
      A Flax module, images `float [B, H, W, C]` to logits `float32 [B, num_labels]`.

    Raises:
      InputError: a name that is not in its table, which the error lists; the head of another net;
        or options that do not go together.
    """
    _check_known("model.name", name, BACKBONES)
    _check_known("model.head", head, HEADS)
    _check_known("model.dtype", dtype, DTYPES)
    _check_known("model.block", block, BLOCKS)
    if head in BACKBONES and head != name:
        others = ", ".join(other for other in HEADS if other not in BACKBONES)
        raise InputError(
            f"config.model.head={head!r} goes with that net only; "
            f"config.model.name={name!r} takes {others}"
        )
    if tile and head != "attention":
        raise InputError(
            f"config.model.tile={tile} goes with config.model.head='attention', not {head!r}"
        )
    if block != "plain" and not hasattr(BACKBONES[name](), "block"):
        raise InputError(
            f"config.model.block={block!r} is for DenseNets; "
            f"config.model.name={name!r} takes plain only"
        )
    if stochastic_depth and not hasattr(BACKBONES[name](), "stochastic_depth"):
        raise InputError(
            f"config.model.stochastic_depth={stochastic_depth} is for ConvNeXts; "
            f"config.model.name={name!r} takes 0 only"
        )
    return Classifier(
        backbone=name,
        head=head,
        num_labels=num_labels,
        dropout=dropout,
        momentum=momentum,
        dtype=jnp.dtype(dtype),
        block=block,
        mesh=mesh,
        kernels=kernels,
        tile=tile,
        frozen_backbone=frozen_backbone,
        stochastic_depth=stochastic_depth,
    )


def _check_known(setting: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        names = ", ".join(known)
        raise InputError(f"config.{setting}={value!r} is unknown; choose one of {names}")


def split_multiple(name: str) -> int:
    """What has to divide each device's part of an image's height (parallel/mesh.py).

    Args:
      name: of a net; one that is unknown has no such number either.

    Returns:
      px; 0 for nets whose images cannot be split: they shrink them without padding.
    """
    if name not in BACKBONES:
        return 0
    return getattr(BACKBONES[name](), "SPLIT_MULTIPLE", 0)


def check_size(model: Classifier, image_shape: tuple[int, int, int]) -> None:
    """Refuses images that a net cannot take, before anything is traced.

    Args:
      model: from `create_model`.
      image_shape: height, width (px) and channels.

    Raises:
      InputError: a side below the backbone's minimum, tiles that do not fit, or a flattening head
        over too large a feature map.
    """
    backbone = model.make_backbone()
    height, width, _ = image_shape
    minimum = backbone.MIN_IMAGE_SIZE
    if min(height, width) < minimum:
        raise InputError(
            f"config.model.name={model.backbone!r} takes images of at least {minimum} px a side, "
            f"not {height} x {width}; set config.data.image_size"
        )
    if model.tile:
        _check_tile(model.tile, height, width, minimum)
    positions = backbone.feature_map_size(height) * backbone.feature_map_size(width)
    if model.head == "hpa_densenet":
        _check_flattened(model, HPA_DENSENET_CHANNELS * positions, height, width)


def _check_tile(tile: int, height: int, width: int, minimum: int) -> None:
    if height % tile == 0 and width % tile == 0 and tile >= minimum:
        return
    nearest = max(1, round(height / tile)) * tile
    raise InputError(
        f"config.model.tile={tile} does not divide images of {height} x {width} px into tiles of "
        f"{minimum} px or more; choose a size that divides the side, "
        f"or config.data.image_size={nearest}"
    )


def _check_flattened(model: Classifier, values: int, height: int, width: int) -> None:
    if values <= HPA_DENSENET_MAX_VALUES:
        return
    raise InputError(
        f"config.model.head='hpa_densenet' on config.model.name={model.backbone!r} flattens "
        f"{values:,} values at {height} x {width} px, {HPA_DENSENET_MAX_VALUES:,} at most; "
        f"use --config.model.head=pooled or a smaller config.data.image_size"
    )
