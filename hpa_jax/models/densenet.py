"""DenseNet backbones (Huang et al. 2017, arXiv:1608.06993), channels last, for any number of input channels.

Unusual: the 1x1 convolutions are matrix products over the channels, which XLA's CPU backend runs faster; and the batch
moments of a feature map are computed once, then handed to every later norm of the block (norm.py). Paddings are those
of the published ImageNet weights (3 in the stem, 1 before its pool), not SAME, which differs silently.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from hpa_jax.models.layers import Conv, Dense
from hpa_jax.models.norm import BatchNorm, Moments, batch_moments, concat_moments
from hpa_jax.models.pooling import max_pool

DEPTHS = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
}
"""Dense layers in each of the four blocks (Table 1 of the paper)."""
BLOCKS = ("plain", "remat", "fused")
"""How a dense block is computed in training; the parameters, and the numbers to rounding, are the same."""


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 to four times the growth, BN-ReLU-3x3 to the growth: the new feature maps alone."""

    growth: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, moments: Moments | None, *, train: bool) -> jax.Array:
        x = nn.relu(self.norm(name="norm1")(x, train=train, moments=moments))
        x = Dense(4 * self.growth, use_bias=False, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(self.norm(name="norm2")(x, train=train))
        return Conv(self.growth, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name="conv2")(
            x
        )


class DenseNet(nn.Module):
    """Images to feature maps.

    Attributes:
      depths: dense layers in each block.
      growth: feature maps that each dense layer adds.
      stem: feature maps of the first convolution.
      dropout: not used, the head drops.
      momentum: of the batch norms' running statistics.
      dtype: of the arithmetic; parameters and statistics are float32.
      block: one of BLOCKS; how dense blocks are computed in training.
      mesh: over which images are cut; fused blocks alone want it.
    """

    depths: tuple[int, ...] = DEPTHS["densenet121"]
    growth: int = 32
    stem: int = 64
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    block: str = "plain"
    mesh: Mesh | None = None

    LEAST_SIDE = 32
    SPLIT_MULTIPLE = 32  # a height that it divides is halved five times without remainder

    @staticmethod
    def map_side(side: int) -> int:
        """Side of the last map, of an image `side` px wide: stem and pool round up, the transitions down."""
        return -(-side // 4) // 8

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `dtype [B, H/32, W/32, F]`, rectified; sides of at least 32 px."""
        norm = partial(BatchNorm, momentum=self.momentum, dtype=self.dtype)

        how = self.block if train and not self.is_initializing() else "plain"
        # What the stem is given fills eight times its bytes in the form that a TPU convolves it in.
        kept = jax.checkpoint_policies.save_only_these_names("stem")
        stem = _stem if how == "plain" else nn.remat(_stem, policy=kept, static_argnums=(2, 3))
        x = stem(self, x, norm, train)

        if how == "fused":
            x, moments = self._fused(x)
            return nn.relu(norm(name="final_norm")(x, train=train, moments=moments))
        for block in range(1, len(self.depths) + 1):
            x, moments = self._concatenated(x, self._layers(block), norm, train, how == "remat")
            last = block == len(self.depths)
            name = "final_norm" if last else f"transition{block}_norm"
            x = nn.relu(norm(name=name)(x, train=train, moments=moments))
            if not last:
                half = x.shape[-1] // 2
                x = Dense(half, use_bias=False, dtype=self.dtype, name=f"transition{block}_conv")(x)
                x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return x

    def _layers(self, block: int) -> list[str]:
        return [f"block{block}_layer{layer}" for layer in range(1, self.depths[block - 1] + 1)]

    def _concatenated(
        self, x: jax.Array, names: list[str], norm: partial, train: bool, remat: bool
    ):
        """The maps of a block, and in training their moments.

        With `remat` the backward pass keeps the maps that each layer adds, not what they are concatenated and
        normalised to (Pleiss et al. 2017, arXiv:1707.06990), and computes a layer's inside again.
        """
        maps, moments = [x], batch_moments(x) if train else None
        for name in names:
            layer = DenseLayer(self.growth, norm, self.dtype, name=name)
            call = nn.remat(_call_layer, static_argnums=3) if remat else _call_layer
            new = call(layer, maps, moments, train)
            maps = [*maps, new] if remat else [jnp.concatenate([*maps, new], axis=-1)]
            moments = concat_moments(moments, batch_moments(new)) if train else None
        return jnp.concatenate(maps, axis=-1), moments

    def _fused(self, x: jax.Array) -> tuple[jax.Array, Moments]:
        """The last block's maps and their moments, in training: with the parameters taken out of their layers
        (fused_block.py), and the statistics put back."""
        from hpa_jax.models.fused.dense_block import (  # Pallas takes its time, and most runs need none
            dense_blocks,
            stages_of,
        )

        numbers = range(1, len(self.depths) + 1)
        parameters, statistics = (
            partial(self.get_variable, kind) for kind in ("params", "batch_stats")
        )
        blocks = tuple(tuple(parameters(name) for name in self._layers(block)) for block in numbers)
        transitions = tuple(
            tuple(parameters(f"transition{block}_{part}") for part in ("norm", "conv"))
            for block in numbers[:-1]
        )
        stages = stages_of(x.shape, self.depths, self.growth, self.mesh)
        buffer = stages[0].way.begin(x, stages[0].total)
        buffer, found = dense_blocks(
            stages, BatchNorm.epsilon, buffer, batch_moments(x), blocks, transitions
        )
        for block, (moments, narrow) in zip(numbers, found, strict=True):
            for name, own in zip(self._layers(block), narrow, strict=True):
                stats = statistics(name)
                stats = {
                    "norm1": self._kept(stats["norm1"], moments),
                    "norm2": self._kept(stats["norm2"], own),
                }
                self.put_variable("batch_stats", name, stats)
            if block < len(self.depths):
                name = f"transition{block}_norm"
                self.put_variable("batch_stats", name, self._kept(statistics(name), moments))
        return stages[-1].way.end(buffer), found[-1][0]

    def _kept(self, stats: dict, moments: Moments) -> dict:
        """Running statistics after a step; of a layer's input, which is a prefix of its block's maps, these alone."""
        new = zip(("mean", "var"), moments, strict=True)
        return {
            k: self.momentum * stats[k] + (1 - self.momentum) * v[: stats[k].size] for k, v in new
        }


def _stem(net: DenseNet, x: jax.Array, norm: partial, train: bool) -> jax.Array:
    """Convolution, norm, ReLU and pool; the convolution's result is named, to be kept for the backward pass."""
    x = Conv(
        net.stem, (7, 7), strides=2, padding=3, use_bias=False, dtype=net.dtype, name="stem_conv"
    )(x)
    x = checkpoint_name(x, "stem")
    moments = checkpoint_name(batch_moments(x), "stem") if train else None
    return max_pool(nn.relu(norm(name="stem_norm")(x, train=train, moments=moments)), padding=1)


def _call_layer(
    layer: DenseLayer, maps: list[jax.Array], moments: Moments | None, train: bool
) -> jax.Array:
    x = maps[0] if len(maps) == 1 else jnp.concatenate(maps, axis=-1)
    return layer(x, moments, train=train)
