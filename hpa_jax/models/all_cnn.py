"""All-CNN-C (Springenberg et al. 2015, arXiv:1412.6806, Table 1, with its last 1x1 convolution in the head).

Unusual: no pooling, no batch norm; images shrink by strided convolutions, to a quarter of their side alone. At 512 px
the last map has 126 x 126 places, so the flatten head is out of reach.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Conv, Dense

LAYERS = (
    (96, 3, 1),
    (96, 3, 1),
    (96, 3, 2),
    (192, 3, 1),
    (192, 3, 1),
    (192, 3, 2),
    (192, 3, 1),
    (192, 1, 1),
)
"""Feature maps, side of the kernel, stride. The last 3x3 is not padded, which is how 32 px end in the paper's 6 x 6."""
UNPADDED = 7
INPUT_SHARE = 0.4
"""Dropout of the images, as a share of that of the maps: the paper drops 20 % of the former, 50 % of the latter."""


class AllCNN(nn.Module):
    """Images to feature maps, each convolution rectified.

    Attributes:
      dropout: share of the values that training drops after each strided convolution; of the images, 0.4 times that.
      momentum: not used, there is no batch norm.
      dtype: of the arithmetic; parameters are float32.
    """

    dropout: float = 0.5
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    LEAST_SIDE = 9

    @staticmethod
    def map_side(side: int) -> int:
        """Side of the last map, of an image `side` px wide: the strides round up, the unpadded convolution takes 2."""
        return -(-side // 4) - 2

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, H/4 - 2, W/4 - 2, 192]`."""
        x = nn.Dropout(INPUT_SHARE * self.dropout)(x, deterministic=not train)
        for number, (maps, side, stride) in enumerate(LAYERS, start=1):
            name = f"conv{number}"
            if side == 1:
                x = Dense(maps, dtype=self.dtype, name=name)(x)
            else:
                padding = 0 if number == UNPADDED else 1
                x = Conv(
                    maps, (3, 3), strides=stride, padding=padding, dtype=self.dtype, name=name
                )(x)
            x = nn.relu(x)
            if stride == 2:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x
