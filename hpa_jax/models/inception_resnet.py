"""Inception-ResNet-v2 (Szegedy et al. 2017, arXiv:1602.07261), channels last, for any number of input channels.

Unusual: it is the one of `keras.applications` (and of TF-Slim, whose weights that has), which differs from the paper's
figures: a plain stem, blocks of 320, 1088 and 2080 maps repeated 10, 20 and 10 times, the last of them not rectified;
the norms have no scale. The 1x1 convolutions are matrix products over the channels (`nn.Dense`), as in densenet.py.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Conv, Dense
from hpa_jax.models.norm import BatchNorm
from hpa_jax.models.pooling import max_pool

# Branches side by side, each a chain of convolutions: feature maps, and side or (height, width) of the kernel.
MIXED_5B = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
BLOCK35 = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))
MIXED_6A = (((384, 3),), ((256, 1), (256, 3), (384, 3)))
BLOCK17 = (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))
MIXED_7A = (((256, 1), (384, 3)), ((256, 1), (288, 3)), ((256, 1), (288, 3), (320, 3)))
BLOCK8 = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))

DEPTHS = (10, 20, 10)
"""Blocks of each kind: 35, 17, 8."""


class ConvNorm(nn.Module):
    """Convolution without a bias, batch norm without a scale, ReLU."""

    maps: int
    kernel: int | tuple[int, int]
    norm: partial
    dtype: jnp.dtype
    stride: int = 1
    padded: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.kernel == 1:
            x = Dense(self.maps, use_bias=False, dtype=self.dtype, name="conv")(x)
        else:
            kernel = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
            padding = [(side // 2, side // 2) if self.padded else (0, 0) for side in kernel]
            x = Conv(
                self.maps,
                kernel,
                self.stride,
                padding=padding,
                use_bias=False,
                dtype=self.dtype,
                name="conv",
            )(x)
        return nn.relu(self.norm(name="norm")(x, train=train))


class Branches(nn.Module):
    """Chains of convolutions side by side, `branch{b}_{place in the chain}`: their maps in a list.

    Where it `reduces`, the last convolution of each has stride 2 and no padding.
    """

    chains: tuple
    norm: partial
    dtype: jnp.dtype
    reduces: bool = False

    def chain(self, x: jax.Array, number: int, *, train: bool) -> jax.Array:
        for place, (maps, kernel) in enumerate(self.chains[number], start=1):
            last = self.reduces and place == len(self.chains[number])
            name = f"branch{number}_{place}"
            x = ConvNorm(
                maps, kernel, self.norm, self.dtype, 2 if last else 1, not last, name=name
            )(x, train=train)
        return x

    def all(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        return [self.chain(x, number, train=train) for number in range(len(self.chains))]


class Mixed5b(Branches):
    """Three chains, and a 1x1 convolution of a 3x3 mean."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        mean = nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)), count_include_pad=False)
        pooled = ConvNorm(64, 1, self.norm, self.dtype, name="pool_1")(mean, train=train)
        return jnp.concatenate([*self.all(x, train=train), pooled], axis=-1)


class Reduction(Branches):
    """Chains that end in a stride of 2, and a maximum of 3x3."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return jnp.concatenate([*self.all(x, train=train), max_pool(x)], axis=-1)


class Residual(Branches):
    """Chains, concatenated and brought back to the input's width by a 1x1 convolution, of which `share` is added."""

    share: float = 1.0
    rectified: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        mixed = jnp.concatenate(self.all(x, train=train), axis=-1)
        x = x + self.share * Dense(x.shape[-1], dtype=self.dtype, name="up")(mixed)
        return nn.relu(x) if self.rectified else x


class InceptionResNet(nn.Module):
    """Images to feature maps.

    Attributes:
      depths: residual blocks of each of the three kinds.
      dropout: not used, the head drops.
      momentum: of the batch norms' running statistics.
      dtype: of the arithmetic; parameters and statistics are float32.
    """

    depths: tuple[int, int, int] = DEPTHS
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    LEAST_SIDE = 75

    @staticmethod
    def map_side(side: int) -> int:
        """Side of the last map, of an image `side` px wide: nothing is padded where images shrink."""
        half = lambda side: (side - 1) // 2  # noqa: E731
        return half(half(half(half(half(side) - 2) - 2)))

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, h, w, 1536]`, rectified; 299 px become 8, 512 px 14."""
        parts = (
            partial(
                BatchNorm, momentum=self.momentum, epsilon=1e-3, scaled=False, dtype=self.dtype
            ),
            self.dtype,
        )

        x = ConvNorm(32, 3, *parts, 2, False, name="stem1")(x, train=train)
        x = ConvNorm(32, 3, *parts, 1, False, name="stem2")(x, train=train)
        x = ConvNorm(64, 3, *parts, name="stem3")(x, train=train)
        x = max_pool(x)
        x = ConvNorm(80, 1, *parts, name="stem4")(x, train=train)
        x = ConvNorm(192, 3, *parts, 1, False, name="stem5")(x, train=train)
        x = max_pool(x)

        x = Mixed5b(MIXED_5B, *parts, name="mixed_5b")(x, train=train)
        for n in range(1, self.depths[0] + 1):
            x = Residual(BLOCK35, *parts, share=0.17, name=f"block35_{n}")(x, train=train)
        x = Reduction(MIXED_6A, *parts, reduces=True, name="mixed_6a")(x, train=train)
        for n in range(1, self.depths[1] + 1):
            x = Residual(BLOCK17, *parts, share=0.1, name=f"block17_{n}")(x, train=train)
        x = Reduction(MIXED_7A, *parts, reduces=True, name="mixed_7a")(x, train=train)
        for n in range(1, self.depths[2] + 1):
            last = n == self.depths[2]
            share = 1.0 if last else 0.2
            x = Residual(BLOCK8, *parts, share=share, rectified=not last, name=f"block8_{n}")(
                x, train=train
            )
        return ConvNorm(1536, 1, *parts, name="conv_7b")(x, train=train)
