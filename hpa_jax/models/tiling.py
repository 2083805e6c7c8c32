"""A field too large for one chip, seen tile by tile: memory is that of one tile, whatever the size of the field.

Each tile goes through the backbone for itself, one after the other; what it keeps of a tile is the mean and the maximum
of its map. The backward pass computes a tile's maps again rather than keep them. The result is a map with one place a
tile, which a head takes as it takes any map.

Unusual:
- a tile does not see over its edge: convolutions pad there, as at the edge of a field. So this is another net than the
  same backbone on whole fields, with the same parameters; published weights fit both.
- batch norm normalises each tile by the moments of the batch's tiles at the same place; running statistics move towards
  the mean of these over the tiles. Nothing of another tile is needed, so nothing has to be kept.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hpa_jax.models.heads import global_maximum


def tiled_features(backbone: nn.Module, images: jax.Array, tile: int, *, train: bool) -> jax.Array:
    """The mean and maximum of the backbone's map of each tile.

    Args:
      backbone: bound to its variables, of which the batch statistics move where they may.
      images: `[B, H, W, C]`; `tile`, px, divides H and W.

    Returns:
      `float32 [B, H / tile, W / tile, 2 F]`.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // tile, width // tile
    if backbone.is_initializing():
        first = pooled(backbone(images[:, :tile, :tile], train=train))
        return jnp.broadcast_to(first[:, None, None], (batch, rows, columns, first.shape[-1]))
    moves = backbone.is_mutable_collection("batch_stats")
    key = backbone.make_rng("dropout") if train and backbone.has_rng("dropout") else None
    net, variables = backbone.unbind()

    @jax.checkpoint
    def one(number: jax.Array) -> tuple[jax.Array, dict]:
        at = (0, number // columns * tile, number % columns * tile, 0)
        piece = lax.dynamic_slice(images, at, (batch, tile, tile, channels))
        rngs = {} if key is None else {"dropout": jax.random.fold_in(key, number)}
        maps, updates = net.apply(
            variables, piece, train=train, rngs=rngs, mutable=["batch_stats"] if moves else []
        )
        return pooled(maps), updates.get("batch_stats", {})

    features, statistics = lax.map(one, jnp.arange(rows * columns))
    for name, moved in statistics.items():
        backbone.put_variable("batch_stats", name, jax.tree.map(lambda leaf: leaf.mean(0), moved))
    return features.swapaxes(0, 1).reshape(batch, rows, columns, -1)


def pooled(maps: jax.Array) -> jax.Array:
    """Mean and maximum over `[B, h, w, F]` side by side, `float32 [B, 2 F]`."""
    mean = jnp.mean(maps.astype(jnp.float32), axis=(1, 2))
    return jnp.concatenate([mean, global_maximum(maps).astype(jnp.float32)], axis=-1)
