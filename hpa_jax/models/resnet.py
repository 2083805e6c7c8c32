"""ResNet-50, channels last, for any number of input channels.

Design: this is the ResNet-50 of `keras.applications`, which follows the paper's first version. A
stage strides in the first 1x1 convolution of its first block, where torchvision strides in the 3x3
(the same shapes, other values); and every convolution has a bias, though a norm follows. The 1x1
convolutions are matrix products over the channels (`layers.Dense`), as in densenet.py.

References:
  He et al., Deep Residual Learning for Image Recognition, 2016, arXiv:1512.03385, Table 1.
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
    """1x1 to `width`, 3x3, 1x1 to four times `width`, added to the input.

    Attributes:
      width: channels of the bottleneck.
      stride: of the first convolution and of the shortcut.
      project: whether the shortcut is a 1x1 convolution, as where shapes change.
      norm: makes a batch norm.
      dtype: of the arithmetic.
    """

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
      depths: blocks in each stage.
      width: channels of the stem, and of the bottlenecks of the first stage; each further stage has
        twice as many.
      dropout: not used, only the head drops.
      momentum: of the running statistics of the batch norms.
      dtype: of the arithmetic; parameters and statistics are float32.
    """

    depths: tuple[int, ...] = DEPTHS
    width: int = 64
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    MIN_IMAGE_SIZE = 32
    # A height that it divides is halved five times without remainder.
    SPLIT_MULTIPLE = 32
    STAGE_STRIDES = (2, 4, 8, 16, 32)

    @staticmethod
    def feature_map_size(image_size: int) -> int:
        """Side of the last feature map, for images of `image_size` px: a 32nd, rounded up."""
        return -(-image_size // 32)

    def stages(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """A map for each of STAGE_STRIDES: the stem's before its pool, and each stage's."""
        skips = []
        last = self(x, train=train, skips=skips)
        return [*skips, last]

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, skips: list[jax.Array] | None = None
    ) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, H/32, W/32, 32 width]`, after a ReLU.

        The earlier maps of `stages` are appended to `skips`, where they are wanted.
        """
        norm = partial(BatchNorm, momentum=self.momentum, dtype=self.dtype)

        x = Conv(self.width, (7, 7), strides=2, padding=3, dtype=self.dtype, name="stem_conv")(x)
        x = nn.relu(norm(name="stem_norm")(x, train=train))
        if skips is not None:
            skips.append(x)
        # Keras pads with zeros, which change no maximum of values that a ReLU has passed.
        x = max_pool(x, padding=1)

        for stage, depth in enumerate(self.depths, start=1):
            if skips is not None and stage > 1:
                skips.append(x)
            width = self.width * 2 ** (stage - 1)
            for block in range(1, depth + 1):
                is_first = block == 1
                layer = Bottleneck(
                    width=width,
                    stride=2 if is_first and stage > 1 else 1,
                    project=is_first,
                    norm=norm,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{block}",
                )
                x = layer(x, train=train)
        return x
