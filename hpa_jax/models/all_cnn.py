"""All-CNN-C, with its last 1x1 convolution in the head.

Design: no pooling and no batch norm. Strided convolutions shrink images, to a quarter of their side
only. At 512 px the last feature map has 126 x 126 positions, out of reach of a flattening head.

References:
  Springenberg et al., Striving for Simplicity, 2015, arXiv:1412.6806, Table 1.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Conv, Dense


class Layer(NamedTuple):
    """One convolution.

    Attributes:
      features: channels of the result.
      kernel_size: px a side.
      stride: px.
      padding: rows and columns of zeros at each edge.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0


LAYERS = (
    Layer(96, kernel_size=3, padding=1),
    Layer(96, kernel_size=3, padding=1),
    Layer(96, kernel_size=3, padding=1, stride=2),
    Layer(192, kernel_size=3, padding=1),
    Layer(192, kernel_size=3, padding=1),
    Layer(192, kernel_size=3, padding=1, stride=2),
    # The last 3x3 is not padded: so 32 px end in the 6 x 6 positions of the paper.
    Layer(192, kernel_size=3),
    Layer(192, kernel_size=1),
)

# The paper drops 20 % of the images and 50 % of the feature maps.
IMAGE_DROPOUT = 0.4
"""Dropout of the images, as a fraction of that of the feature maps."""


class AllCNN(nn.Module):
    """Images to feature maps, each convolution followed by a ReLU.

    Attributes:
      dropout: fraction of the values dropped in training after each strided convolution, and 0.4
        times that of the images.
      momentum: not used, there is no batch norm.
      dtype: of the arithmetic; parameters are float32.
    """

    dropout: float = 0.5
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    MIN_IMAGE_SIZE = 9

    @staticmethod
    def feature_map_size(image_size: int) -> int:
        """Side of the last feature map, for images of `image_size` px a side."""
        rounded_up_quarter = -(-image_size // 4)
        # The convolution without padding takes a row and a column at each edge.
        return rounded_up_quarter - 2

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, H/4 - 2, W/4 - 2, 192]`."""
        x = nn.Dropout(IMAGE_DROPOUT * self.dropout)(x, deterministic=not train)
        for number, layer in enumerate(LAYERS, start=1):
            x = nn.relu(self._convolution(layer, f"conv{number}")(x))
            if layer.stride == 2:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x

    def _convolution(self, layer: Layer, name: str) -> nn.Module:
        if layer.kernel_size == 1:
            return Dense(layer.features, dtype=self.dtype, name=name)
        return Conv(
            layer.features,
            (layer.kernel_size, layer.kernel_size),
            strides=layer.stride,
            padding=layer.padding,
            dtype=self.dtype,
            name=name,
        )
