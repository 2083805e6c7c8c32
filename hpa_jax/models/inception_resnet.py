"""Inception-ResNet-v2, channels last, for any number of input channels.

Design: this is the net of `keras.applications` (and of TF-Slim, where its weights come from), which
differs from the paper's: a plain stem; blocks of 320, 1088 and 2080 channels repeated 10, 20 and 10
times, the last of them without a ReLU; norms without a scale. The 1x1 convolutions are matrix
products over the channels (`layers.Dense`), as in densenet.py.

References:
  Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,
  2017, arXiv:1602.07261.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Conv, Dense
from hpa_jax.models.norm import BatchNorm
from hpa_jax.models.pooling import max_pool

# Parallel branches, each a chain of convolutions: channels, and side or (height, width) of the
# kernel.
MIXED_5B = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
BLOCK35 = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))
MIXED_6A = (((384, 3),), ((256, 1), (256, 3), (384, 3)))
BLOCK17 = (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))
MIXED_7A = (((256, 1), (384, 3)), ((256, 1), (288, 3)), ((256, 1), (288, 3), (320, 3)))
BLOCK8 = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))

DEPTHS = (10, 20, 10)
"""Blocks of each kind: 35, 17, 8."""


class ConvNorm(nn.Module):
    """Convolution without a bias, batch norm, ReLU.

    Attributes:
      features: channels of the result.
      kernel: px a side, or (height, width).
      norm: makes a batch norm.
      dtype: of the arithmetic.
      stride: px.
      padded: whether the image keeps its size (up to the stride).
    """

    features: int
    kernel: int | tuple[int, int]
    norm: partial
    dtype: jnp.dtype
    stride: int = 1
    padded: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self._convolution()(x)
        return nn.relu(self.norm(name="norm")(x, train=train))

    def _convolution(self) -> nn.Module:
        if self.kernel == 1:
            return Dense(self.features, use_bias=False, dtype=self.dtype, name="conv")
        kernel_size = self.kernel
        if isinstance(kernel_size, int):
            kernel_size = (kernel_size, kernel_size)
        padding = 0
        if self.padded:
            padding = tuple((side // 2, side // 2) for side in kernel_size)
        return Conv(
            self.features,
            kernel_size,
            strides=self.stride,
            padding=padding,
            use_bias=False,
            dtype=self.dtype,
            name="conv",
        )


class Branches(nn.Module):
    """Parallel chains of convolutions, named `branch{number}_{position in the chain}`.

    Attributes:
      chains: of each branch its convolutions.
      norm: makes a batch norm.
      dtype: of the arithmetic.
      reduces: whether the last convolution of each chain has stride 2 and no padding.
    """

    chains: tuple
    norm: partial
    dtype: jnp.dtype
    reduces: bool = False

    def branches(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """The result of each branch."""
        numbers = range(len(self.chains))
        return [self._branch(x, number, train=train) for number in numbers]

    def _branch(self, x: jax.Array, number: int, *, train: bool) -> jax.Array:
        chain = self.chains[number]
        for position, (features, kernel) in enumerate(chain, start=1):
            is_reducing = self.reduces and position == len(chain)
            layer = ConvNorm(
                features,
                kernel,
                self.norm,
                self.dtype,
                stride=2 if is_reducing else 1,
                padded=not is_reducing,
                name=f"branch{number}_{position}",
            )
            x = layer(x, train=train)
        return x


class Mixed5b(Branches):
    """Three branches, and a 1x1 convolution of a 3x3 mean."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        mean = nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)), count_include_pad=False)
        pooled = ConvNorm(64, 1, self.norm, self.dtype, name="pool_1")(mean, train=train)
        return jnp.concatenate([*self.branches(x, train=train), pooled], axis=-1)


class Reduction(Branches):
    """Branches that end in a stride of 2, and a maximum of 3x3."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return jnp.concatenate([*self.branches(x, train=train), max_pool(x)], axis=-1)


class Residual(Branches):
    """Branches, concatenated, projected to the width of the input and added to it.

    Attributes:
      scale: of what is added.
      use_relu: whether a ReLU follows.
    """

    scale: float = 1.0
    use_relu: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        mixed = jnp.concatenate(self.branches(x, train=train), axis=-1)
        x = x + self.scale * Dense(x.shape[-1], dtype=self.dtype, name="up")(mixed)
        if not self.use_relu:
            return x
        return nn.relu(x)


class InceptionResNet(nn.Module):
    """Images to feature maps.

    Attributes:
      depths: residual blocks of each of the three kinds.
      dropout: not used, only the head drops.
      momentum: of the running statistics of the batch norms.
      dtype: of the arithmetic; parameters and statistics are float32.
    """

    depths: tuple[int, int, int] = DEPTHS
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    MIN_IMAGE_SIZE = 75

    @staticmethod
    def feature_map_size(image_size: int) -> int:
        """Side of the last feature map, for images of `image_size` px a side."""
        size = image_size
        # Nothing is padded where images shrink: three convolutions and two pools halve them, and
        # after the first two halvings a 3x3 convolution takes a row and a column at each edge.
        size = (size - 1) // 2 - 2
        size = (size - 1) // 2 - 2
        for _ in range(3):
            size = (size - 1) // 2
        return size

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, h, w, 1536]`, after a ReLU; 512 px give 14."""
        norm = partial(
            BatchNorm,
            momentum=self.momentum,
            epsilon=1e-3,
            use_scale=False,
            dtype=self.dtype,
        )
        conv = partial(ConvNorm, norm=norm, dtype=self.dtype)
        residual = partial(Residual, norm=norm, dtype=self.dtype)
        reduction = partial(Reduction, norm=norm, dtype=self.dtype, reduces=True)

        x = conv(32, 3, stride=2, padded=False, name="stem1")(x, train=train)
        x = conv(32, 3, padded=False, name="stem2")(x, train=train)
        x = conv(64, 3, name="stem3")(x, train=train)
        x = max_pool(x)
        x = conv(80, 1, name="stem4")(x, train=train)
        x = conv(192, 3, padded=False, name="stem5")(x, train=train)
        x = max_pool(x)

        x = Mixed5b(MIXED_5B, norm, self.dtype, name="mixed_5b")(x, train=train)
        for number in range(1, self.depths[0] + 1):
            x = residual(BLOCK35, scale=0.17, name=f"block35_{number}")(x, train=train)
        x = reduction(MIXED_6A, name="mixed_6a")(x, train=train)
        for number in range(1, self.depths[1] + 1):
            x = residual(BLOCK17, scale=0.1, name=f"block17_{number}")(x, train=train)
        x = reduction(MIXED_7A, name="mixed_7a")(x, train=train)
        for number in range(1, self.depths[2]):
            x = residual(BLOCK8, scale=0.2, name=f"block8_{number}")(x, train=train)
        # The last block is added at full scale and has no ReLU.
        last = f"block8_{self.depths[2]}"
        x = residual(BLOCK8, scale=1.0, use_relu=False, name=last)(x, train=train)
        return conv(1536, 1, name="conv_7b")(x, train=train)
