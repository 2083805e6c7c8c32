"""DenseNet backbones (Huang et al. 2017, arXiv:1608.06993), channels last, for any number of input channels.

Unusual: the 1x1 convolutions are matrix products over the channels (`nn.Dense`), which XLA's CPU backend runs
faster; and the batch moments of a feature map are computed once, then handed to every later norm of the block
(norm.py). Paddings are those of the published ImageNet weights (3 in the stem, 1 before its pool), not SAME, which
differs silently.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.norm import BatchNorm, Moments, batch_moments, concat_moments

DEPTHS = {"densenet121": (6, 12, 24, 16), "densenet169": (6, 12, 32, 32), "densenet201": (6, 12, 48, 32)}
"""Dense layers in each of the four blocks (Table 1 of the paper)."""


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 to four times the growth, BN-ReLU-3x3 to the growth: the new feature maps alone."""

    growth: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, moments: Moments | None, *, train: bool) -> jax.Array:
        x = nn.relu(self.norm(name="norm1")(x, train=train, moments=moments))
        x = nn.Dense(4 * self.growth, use_bias=False, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(self.norm(name="norm2")(x, train=train))
        return nn.Conv(self.growth, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name="conv2")(x)


class DenseNet(nn.Module):
    """Images to feature maps.

    Attributes:
      depths: dense layers in each block.
      growth: feature maps that each dense layer adds.
      stem: feature maps of the first convolution.
      dropout: not used, the head drops.
      momentum: of the batch norms' running statistics.
      dtype: of the arithmetic; parameters and statistics are float32.
    """

    depths: tuple[int, ...] = DEPTHS["densenet121"]
    growth: int = 32
    stem: int = 64
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    LEAST_SIDE = 32

    @staticmethod
    def map_side(side: int) -> int:
        """Side of the last map, of an image `side` px wide: stem and pool round up, the transitions down."""
        return -(-side // 4) // 8

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, H/32, W/32, F]`, rectified; sides of at least 32 px."""
        norm = partial(BatchNorm, momentum=self.momentum, dtype=self.dtype)

        x = nn.Conv(self.stem, (7, 7), strides=2, padding=3, use_bias=False, dtype=self.dtype, name="stem_conv")(x)
        x = nn.relu(norm(name="stem_norm")(x, train=train))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

        for block, depth in enumerate(self.depths, start=1):
            moments = batch_moments(x) if train else None
            for layer in range(1, depth + 1):
                new = DenseLayer(self.growth, norm, self.dtype, name=f"block{block}_layer{layer}")(
                    x, moments, train=train
                )
                x = jnp.concatenate([x, new], axis=-1)
                moments = concat_moments(moments, batch_moments(new)) if train else None
            last = block == len(self.depths)
            name = "final_norm" if last else f"transition{block}_norm"
            x = nn.relu(norm(name=name)(x, train=train, moments=moments))
            if not last:
                half = x.shape[-1] // 2
                x = nn.Dense(half, use_bias=False, dtype=self.dtype, name=f"transition{block}_conv")(x)
                x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return x
