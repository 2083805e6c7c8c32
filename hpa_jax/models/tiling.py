"""Images too large for one device, seen tile by tile: the memory is that of one tile.

The tiles go through the backbone one after the other. Of each tile's feature map only the mean and
the maximum are kept, and the backward pass computes the map again. The result is a feature map with
one position per tile, which any head takes.

Design:
- a tile does not see beyond its edge: convolutions pad there as at the edge of an image. So this is
  another net than the same backbone on complete images, with the same parameters; published weights
  fit both;
- batch norm normalizes each tile by the moments of the batch's tiles at the same position, and the
  running statistics move toward the mean of these over the tiles. So a tile needs nothing from
  another one, and nothing has to be kept.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.pooling import mean_and_max


def tiled_features(backbone: nn.Module, images: jax.Array, tile: int, *, train: bool) -> jax.Array:
    """Mean and maximum of the backbone's feature map of each tile.

    Args:
      backbone: bound to its variables; its batch statistics move where they are mutable.
      images: `[B, H, W, C]`.
      tile: px a side; divides H and W.
      train: as of the backbone.

    Returns:
      `float32 [B, H / tile, W / tile, 2 F]`.
    """
    batch, height, width, channels = images.shape
    rows = height // tile
    columns = width // tile
    # One tile is enough to create the parameters.
    if backbone.is_initializing():
        first = mean_and_max(backbone(images[:, :tile, :tile], train=train))
        return jnp.broadcast_to(first[:, None, None], (batch, rows, columns, first.shape[-1]))

    mutable = []
    if backbone.is_mutable_collection("batch_stats"):
        mutable = ["batch_stats"]
    dropout_key = None
    if train and backbone.has_rng("dropout"):
        dropout_key = backbone.make_rng("dropout")
    # `lax.map` traces a pure function; a bound module would carry its variables across traces.
    net, variables = backbone.unbind()

    @jax.checkpoint
    def features_of_tile(number: jax.Array) -> tuple[jax.Array, dict]:
        top = number // columns * tile
        left = number % columns * tile
        pixels = lax.dynamic_slice(images, (0, top, left, 0), (batch, tile, tile, channels))
        rngs = {}
        # Each tile drops other values.
        if dropout_key is not None:
            rngs["dropout"] = jax.random.fold_in(dropout_key, number)
        maps, updates = net.apply(variables, pixels, train=train, rngs=rngs, mutable=mutable)
        return mean_and_max(maps), updates.get("batch_stats", {})

    features, statistics = lax.map(features_of_tile, jnp.arange(rows * columns))
    for name, of_tiles in statistics.items():
        mean = jax.tree.map(lambda leaf: leaf.mean(0), of_tiles)
        backbone.put_variable("batch_stats", name, mean)
    return features.swapaxes(0, 1).reshape(batch, rows, columns, -1)
