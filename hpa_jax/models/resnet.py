"""ResNet-50 (He et al. 2016, arXiv:1512.03385, Table 1), channels last, for any number of input channels.

Unusual: it is the one of `keras.applications`, as the paper's first version: a stage strides in its first block's first
1x1 convolution, where torchvision's strides in the 3x3 (the same shapes, other figures); and every convolution has a
bias, though a norm follows. The 1x1 convolutions are matrix products over the channels (`nn.Dense`), as in densenet.py.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Conv, Dense
from hpa_jax.models.norm import BatchNorm
from hpa_jax.models.pooling import max_pool

DEPTHS = (3, 4, 6, 3)
"""Bottleneck blocks in each of the four stages."""


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3, 1x1 to four times the width; added to the input, which is projected where shapes change."""

    width: int
    stride: int
    project: bool
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x[:, :: self.stride, :: self.stride]
        shortcut = x
        if self.project:
            shortcut = Dense(4 * self.width, dtype=self.dtype, name="shortcut_conv")(x)
            shortcut = self.norm(name="shortcut_norm")(shortcut, train=train)
        x = Dense(self.width, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(self.norm(name="norm1")(x, train=train))
        x = Conv(self.width, (3, 3), padding=1, dtype=self.dtype, name="conv2")(x)
        x = nn.relu(self.norm(name="norm2")(x, train=train))
        x = Dense(4 * self.width, dtype=self.dtype, name="conv3")(x)
        return nn.relu(shortcut + self.norm(name="norm3")(x, train=train))


class ResNet(nn.Module):
    """Images to feature maps.

    Attributes:
      depths: blocks in each stage, whose widths are 64, 128, 256, 512.
      dropout: not used, the head drops.
      momentum: of the batch norms' running statistics.
      dtype: of the arithmetic; parameters and statistics are float32.
    """

    depths: tuple[int, ...] = DEPTHS
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    LEAST_SIDE = 32
    SPLIT_MULTIPLE = 32  # a height that it divides is halved five times without remainder

    @staticmethod
    def map_side(side: int) -> int:
        """Side of the last map, of an image `side` px wide: a 32nd, rounded up."""
        return -(-side // 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, H/32, W/32, 2048]`, rectified."""
        norm = partial(BatchNorm, momentum=self.momentum, dtype=self.dtype)

        x = Conv(64, (7, 7), strides=2, padding=3, dtype=self.dtype, name="stem_conv")(x)
        x = nn.relu(norm(name="stem_norm")(x, train=train))
        # Keras pads with zeros, which change no maximum of rectified values.
        x = max_pool(x, padding=1)

        for stage, depth in enumerate(self.depths, start=1):
            for block in range(1, depth + 1):
                first = block == 1
                stride = 2 if first and stage > 1 else 1
                width = 64 * 2 ** (stage - 1)
                x = Bottleneck(
                    width, stride, first, norm, self.dtype, name=f"stage{stage}_block{block}"
                )(x, train=train)
        return x
