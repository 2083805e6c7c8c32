"""ConvNeXt, channels last, for any number of input channels.

Design:
- the feature map is what the last block gives, as torchvision's `features` does. The layer norm
  that follows the mean over the map in the published nets is the head's (`norm_linear`);
- layer norms compute in float32 whatever the arithmetic is, and the layer scale multiplies in
  float32, so that its gradient is summed so;
- stochastic depth drops a block's branch for an image at a time. The rate grows from 0 at the first
  block to `stochastic_depth` at the last. It draws from the rng 'dropout', as all that is dropped;
- GELU keeps its slope for the backward pass: differentiated as it stands, its two factors are
  written and read in place of their product, each as large as the widest map of the block;
- depthwise.py has the 7x7 convolutions;
- there is no SPLIT_MULTIPLE: where images and their rows are both sharded, XLA sums the gradient of
  a depthwise kernel as often as devices share an image (jax 0.10.2; tests/parallel/test_space.py).

References:
  Liu et al., A ConvNet for the 2020s, 2022, arXiv:2201.03545.
  Huang et al., Deep Networks with Stochastic Depth, 2016, arXiv:1603.09382.
  Touvron et al., Going deeper with Image Transformers, 2021, arXiv:2103.17239: the layer scale.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.depthwise import DepthwiseConv
from hpa_jax.models.initializers import LAYER_SCALE
from hpa_jax.models.layers import Conv, Dense, parameter
from hpa_jax.models.norm import layer_norm

DEPTHS = {
    "convnext_tiny": (3, 3, 9, 3),
    "convnext_small": (3, 3, 27, 3),
}
"""Blocks in each of the four stages (section 2.2 of the paper)."""


@jax.custom_jvp
def gelu(x: jax.Array) -> jax.Array:
    """`x` times the normal distribution's fraction below `x`, as erf computes it.

    References:
      Hendrycks & Gimpel, Gaussian Error Linear Units, 2016, arXiv:1606.08415.
    """
    return nn.gelu(x, approximate=False)


@gelu.defjvp
def _gelu_tangent(primals, tangents):
    (x,) = primals
    (tangent,) = tangents
    wide = x.astype(jnp.float32)
    fraction = lax.erfc(-wide * math.sqrt(0.5)) / 2
    density = jnp.exp(-jnp.square(wide) / 2) / math.sqrt(2 * math.pi)
    slope = fraction + wide * density
    # As a product of the wide numbers, XLA for TPUs would keep them for the slope.
    return gelu(x), slope.astype(x.dtype) * tangent


class Block(nn.Module):
    """Depthwise 7x7, layer norm, 1x1 to four times the width, GELU, 1x1, added to the input.

    Attributes:
      drop: fraction of the images that go past the block in training.
      dtype: of the arithmetic.
    """

    drop: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        width = x.shape[-1]
        y = DepthwiseConv(7, dtype=self.dtype, name="depthwise")(x)
        y = layer_norm(dtype=self.dtype, name="norm")(y)
        y = Dense(4 * width, dtype=self.dtype, name="expand")(y)
        y = gelu(y)
        y = Dense(width, dtype=self.dtype, name="project")(y)

        scale = parameter(self, "layer_scale", nn.initializers.constant(LAYER_SCALE), (width,))
        y = (scale * y.astype(jnp.float32)).astype(self.dtype)
        # One draw for all values of an image.
        drop = nn.Dropout(self.drop, broadcast_dims=(1, 2, 3), name="stochastic_depth")
        return x + drop(y, deterministic=not train)


class ConvNeXt(nn.Module):
    """Images to feature maps.

    Attributes:
      depths: blocks in each stage.
      widths: channels of each stage.
      stochastic_depth: fraction of the images that go past the last block in training.
      dropout: not used, only the head drops.
      momentum: not used, there is no batch norm.
      dtype: of the arithmetic; parameters are float32.
    """

    depths: tuple[int, ...] = DEPTHS["convnext_tiny"]
    widths: tuple[int, ...] = (96, 192, 384, 768)
    stochastic_depth: float = 0.0
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    MIN_IMAGE_SIZE = 32
    STAGE_STRIDES = (4, 8, 16, 32)

    @staticmethod
    def feature_map_size(image_size: int) -> int:
        """Side of the last feature map, for images of `image_size` px: a 32nd, rounded down."""
        return image_size // 32

    def stages(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """A map for each of STAGE_STRIDES: what the last block of each stage gives."""
        skips = []
        last = self(x, train=train, skips=skips)
        return [*skips, last]

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, skips: list[jax.Array] | None = None
    ) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, H/32, W/32, widths[-1]]`.

        The earlier maps of `stages` are appended to `skips`, where they are wanted.
        """
        norm = partial(layer_norm, dtype=self.dtype)
        conv = partial(Conv, dtype=self.dtype)
        last = sum(self.depths) - 1

        x = conv(self.widths[0], (4, 4), strides=4, name="stem_conv")(x)
        x = norm(name="stem_norm")(x)
        number = 0
        stages = zip(self.depths, self.widths, strict=True)
        for stage, (depth, width) in enumerate(stages, start=1):
            if stage > 1:
                if skips is not None:
                    skips.append(x)
                x = norm(name=f"stage{stage}_norm")(x)
                x = conv(width, (2, 2), strides=2, name=f"stage{stage}_conv")(x)
            for of_stage in range(1, depth + 1):
                drop = self.stochastic_depth * number / last
                name = f"stage{stage}_block{of_stage}"
                x = Block(drop, self.dtype, name=name)(x, train=train)
                number += 1
        return x
