"""A U-Net: a classifier's backbone as the encoder, and a decoder back to full resolution.

The encoder is the backbone unchanged, under the same names (`backbone/...`): published weights and
those of our own runs start it. The decoder doubles the side of its map five times. At each
resolution it joins what the encoder had there, at the last one the image itself, since fine
structure is in no other map; then a 1x1 convolution makes each output.

Design:
- a map is projected to the width of the next resolution before it is doubled, not after: a 1x1
  convolution and a doubling by repetition commute, and so it costs a quarter;
- a map is doubled by repeating each position, as a broadcast: its gradient is a sum, and a height
  that is sharded over devices stays so without an exchange;
- images of any size: the sides are filled up to multiples of 32 by reflection, below and to the
  right, and the outputs are cropped. Sides that are multiples of 32 are not touched;
- parameters and statistics are float32, as are the outputs; `dtype` is of the arithmetic.

To make a backbone an encoder: give it `STAGE_STRIDES` and `stages` (classifier.py).

References:
  Ronneberger et al., U-Net, 2015, arXiv:1505.04597.
"""

import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.errors import InputError
from hpa_jax.models.classifier import BACKBONES, DTYPES
from hpa_jax.models.layers import Conv, Dense
from hpa_jax.models.norm import BatchNorm

BLOCKS = ("plain", "remat")
"""The forms of a DenseNet's blocks in training that keep the maps which the decoder takes."""

MAX_WIDTH = 8
"""Channels of the decoder's coarsest maps, as a multiple of those at full resolution."""

STRIDE = 32
"""px to a position of an encoder's last map: what image sides are filled up to multiples of."""

_OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Level(nn.Module):
    """One doubling: project, double, join, and two 3x3 convolutions with norm and ReLU.

    Attributes:
      width: channels of the result.
      momentum: of the running statistics of the batch norms.
      dtype: of the arithmetic.
    """

    width: int
    momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array | None, *, train: bool) -> jax.Array:
        """`[B, h, w, F]` to `dtype [B, 2h, 2w, width]`; joined with `skip [B, 2h, 2w, S]`."""
        x = Dense(self.width, use_bias=False, dtype=self.dtype, name="project")(x)
        x = upsample(x)
        if skip is not None:
            x = jnp.concatenate([x, skip.astype(self.dtype)], axis=-1)
        for number in (1, 2):
            conv = Conv(
                self.width,
                (3, 3),
                padding=1,
                use_bias=False,
                dtype=self.dtype,
                name=f"conv{number}",
            )
            norm = BatchNorm(self.momentum, dtype=self.dtype, name=f"norm{number}")
            x = nn.relu(norm(conv(x), train=train))
        return x


class Decoder(nn.Module):
    """From an encoder's maps to the outputs.

    Attributes:
      outputs: names and numbers of channels.
      width: channels at full resolution; each coarser one has twice as many, up to MAX_WIDTH times.
      momentum: of the running statistics of the batch norms.
      dtype: of the arithmetic.
    """

    outputs: tuple[tuple[str, int], ...]
    width: int
    momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: jax.Array, skips: Mapping[int, jax.Array], *, train: bool
    ) -> dict[str, jax.Array]:
        """Outputs of an encoder's maps.

        Args:
          x: the last map, `[B, H/32, W/32, F]`.
          skips: earlier maps by their stride, `[B, H/stride, W/stride, S]`; of stride 1 the image.
          train: normalize by batch moments.

        Returns:
          `float32 [B, H, W, channels]` by name.
        """
        stride = STRIDE
        while stride > 1:
            stride //= 2
            width = self.width * min(stride, MAX_WIDTH)
            level = Level(width, self.momentum, self.dtype, name=f"level{stride}")
            x = level(x, skips.get(stride), train=train)
        outputs = {}
        for name, channels in self.outputs:
            output = Dense(channels, dtype=jnp.float32, name=f"output_{name}")
            outputs[name] = output(x.astype(jnp.float32))
        return outputs


class UNet(nn.Module):
    """Normalized images to images of as many pixels.

    Attributes:
      outputs: names and numbers of channels of what it gives.
      backbone: one of `list_encoders()`.
      width: channels of the decoder at full resolution.
      momentum: fraction of the old running statistics that a training step keeps.
      dtype: of the arithmetic; parameters, statistics and outputs are float32.
      block: the form of a DenseNet's blocks in training, one of BLOCKS.
    """

    outputs: tuple[tuple[str, int], ...]
    backbone: str = "densenet_small"
    width: int = 16
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    block: str = "plain"

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Outputs of images.

        Args:
          images: `float [B, H, W, C]`, of any size and number of channels.
          train: whether to normalize by batch moments.

        Returns:
          `float32 [B, H, W, channels]` by name; neither clipped nor squashed.
        """
        height, width = images.shape[1:3]
        # Images arrive as float32 from their normalization.
        images = fill_up(images.astype(self.dtype), STRIDE)
        form = {}
        if self.block != "plain":
            form["block"] = self.block
        make = BACKBONES[self.backbone]
        encoder = make(momentum=self.momentum, dtype=self.dtype, **form, name="backbone")
        maps = encoder.stages(images, train=train)
        skips = dict(zip(encoder.STAGE_STRIDES, maps, strict=True))
        last = skips.pop(STRIDE)
        skips[1] = images
        decoder = Decoder(self.outputs, self.width, self.momentum, self.dtype, name="head")
        outputs = decoder(last, skips, train=train)
        return {name: output[:, :height, :width] for name, output in outputs.items()}


def upsample(x: jax.Array) -> jax.Array:
    """Each position four times: `[B, h, w, C]` to `[B, 2h, 2w, C]`."""
    batch, height, width, channels = x.shape
    repeated = (batch, height, 2, width, 2, channels)
    x = jax.lax.broadcast_in_dim(x, repeated, (0, 1, 3, 5))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def fill_up(images: jax.Array, multiple: int) -> jax.Array:
    """Images whose sides are multiples of a number, by reflection at the lower and right edge.

    Args:
      images: `[B, H, W, C]`.
      multiple: px.

    Returns:
      `[B, H', W', C]`; the images themselves where nothing is missing.
    """
    below, right = (-side % multiple for side in images.shape[1:3])
    if not below and not right:
        return images
    return jnp.pad(images, ((0, 0), (0, below), (0, right), (0, 0)), mode="reflect")


def list_encoders() -> list[str]:
    """Names that `create_unet` takes, sorted."""
    return sorted(name for name in BACKBONES if hasattr(BACKBONES[name](), "STAGE_STRIDES"))


def create_unet(
    name: str,
    *,
    outputs: Mapping[str, int],
    width: int = 16,
    momentum: float = 0.9,
    dtype: str = "bfloat16",
    block: str = "plain",
) -> UNet:
    """A U-Net by the name of its encoder, without parameters: `init_variables` draws them.

        model = hpa_jax.create_unet("densenet_small", outputs={"yellow": 1})
        variables = hpa_jax.models.init_variables(model, (128, 128, 3), seed=0)
        yellow = model.apply(variables, images, train=False)["yellow"]  # float32 [B, H, W, 1]

    Its variables are `backbone/...`, those of the classifier's backbone of that name, and
    `head/...`, the decoder's. `hpa_jax.load_pretrained` takes it as it takes a classifier.

    Args:
      name: one of `list_encoders()`.
      outputs: number of channels of each output by its name (lower-case letters, digits, `_`).
      width: channels of the decoder at full resolution.
      momentum: fraction of the old running statistics that a training step keeps.
      dtype: of the arithmetic, 'float32' or 'bfloat16'; parameters, statistics and outputs are
        float32.
      block: the form of a DenseNet's blocks in training, 'plain' or 'remat'.

    Returns:
      A Flax module, images `float [B, H, W, C]` of any size to a dict of `float32 [B, H, W,
      channels]`.

    Raises:
      InputError: a name that is not known, of a net that cannot be an encoder, with the reason; no
        outputs, or one without channels; or options that do not go together.
    """
    _check_encoder(name)
    _check_outputs(outputs)
    if dtype not in DTYPES:
        raise InputError(
            f"config.model.dtype={dtype!r} is unknown; choose one of {', '.join(DTYPES)}"
        )
    if width < 1:
        raise InputError(f"width={width} of a U-Net's decoder; choose 1 or more")
    if block not in BLOCKS:
        raise InputError(
            f"config.model.block={block!r} keeps no maps for a U-Net; "
            f"choose one of {', '.join(BLOCKS)}"
        )
    if block != "plain" and not hasattr(BACKBONES[name](), "block"):
        raise InputError(
            f"config.model.block={block!r} is for DenseNets; "
            f"config.model.name={name!r} takes plain only"
        )
    return UNet(
        outputs=tuple(outputs.items()),
        backbone=name,
        width=width,
        momentum=momentum,
        dtype=jnp.dtype(dtype),
        block=block,
    )


def _check_encoder(name: str) -> None:
    encoders = list_encoders()
    if name in encoders:
        return
    names = ", ".join(encoders)
    if name in BACKBONES:
        raise InputError(
            f"config.model.name={name!r} cannot be a U-Net's encoder: it shrinks images without "
            f"padding, so that its maps do not lie on every 2nd, 4th, 8th pixel; "
            f"choose one of {names}"
        )
    raise InputError(f"config.model.name={name!r} is unknown; choose one of {names}")


def _check_outputs(outputs: Mapping[str, int]) -> None:
    if not outputs:
        raise InputError("a U-Net needs an output: a name and its number of channels")
    for name, channels in outputs.items():
        if not _OUTPUT_NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot name a U-Net's output; "
                "use lower-case letters, digits and _, a letter first"
            )
        if channels < 1:
            raise InputError(f"a U-Net's output {name!r} of {channels} channels; give 1 or more")
