"""DenseNet backbones, channels last, for any number of input channels.

Design:
- the 1x1 convolutions are matrix products over the channels, which XLA's CPU backend runs faster;
- the batch moments of a feature map are computed once and given to every later norm of the block
  (norm.py);
- paddings are those of the published ImageNet weights (3 in the stem, 1 before its pool), not SAME,
  which differs silently;
- in training a dense block has three forms, `BLOCKS`. The parameters are the same, and so are the
  numbers up to rounding; memory and traffic differ:
    plain  concatenates before each layer; JAX derives the backward pass from those of its parts;
    remat  keeps what each layer adds and computes the layer's inside again;
    fused  one growing buffer and a backward pass of its own (fused/dense_block.py).

References:
  Huang et al., Densely Connected Convolutional Networks, 2017, arXiv:1608.06993.
"""

from collections.abc import Callable
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
"""The forms of a dense block in training."""


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 to four times the growth, BN-ReLU-3x3 to the growth: the new maps only."""

    growth: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, moments: Moments | None, *, train: bool) -> jax.Array:
        """`[B, H, W, C]` to `dtype [B, H, W, growth]`; in training `moments` are those of `x`."""
        x = nn.relu(self.norm(name="norm1")(x, train=train, moments=moments))
        x = Dense(4 * self.growth, use_bias=False, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(self.norm(name="norm2")(x, train=train))
        conv2 = partial(Conv, padding=1, use_bias=False, dtype=self.dtype)
        return conv2(self.growth, (3, 3), name="conv2")(x)


class DenseNet(nn.Module):
    """Images to feature maps.

    Attributes:
      depths: dense layers in each block.
      growth: feature maps that each dense layer adds.
      stem: feature maps of the first convolution.
      dropout: not used, only the head drops.
      momentum: of the running statistics of the batch norms.
      dtype: of the arithmetic; parameters and statistics are float32.
      block: one of BLOCKS; the form of the dense blocks in training.
      mesh: over which the images are sharded; needed by fused blocks only.
      kernels: fused blocks by Pallas kernels where there are any for the device.
    """

    depths: tuple[int, ...] = DEPTHS["densenet121"]
    growth: int = 32
    stem: int = 64
    dropout: float = 0.0
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    block: str = "plain"
    mesh: Mesh | None = None
    kernels: bool = True

    MIN_IMAGE_SIZE = 32
    # A height that it divides is halved five times without remainder.
    SPLIT_MULTIPLE = 32
    STAGE_STRIDES = (2, 4, 8, 16, 32)

    @staticmethod
    def feature_map_size(image_size: int) -> int:
        """Side of the last feature map, for images of `image_size` px a side."""
        # The stem and its pool round up, the three transitions round down.
        return -(-image_size // 4) // 8

    def stages(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """A map for each of STAGE_STRIDES: the stem's, and each block's after its norm and ReLU."""
        skips = []
        last = self(x, train=train, skips=skips)
        return [*skips, last]

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, skips: list[jax.Array] | None = None
    ) -> jax.Array:
        """Feature maps after the final norm and ReLU.

        Args:
          x: `float [B, H, W, C]`, sides of at least 32 px.
          train: normalize by batch moments, and use the form `block`.
          skips: to which the earlier maps of `stages` are appended; None: they are not wanted.

        Returns:
          `dtype [B, H/32, W/32, F]`.

        Raises:
          ValueError: earlier maps are wanted of fused blocks, which keep none.
        """
        norm = partial(BatchNorm, momentum=self.momentum, dtype=self.dtype)
        # Only a training step has a backward pass; the plain form creates the parameters.
        form = "plain"
        if train and not self.is_initializing():
            form = self.block
        if form == "fused" and skips is not None:
            raise ValueError("block='fused' keeps no maps of earlier stages")

        if form == "fused":
            x, moments = self._fused_blocks(*self._fused_stem(x, norm))
            return nn.relu(norm(name="final_norm")(x, train=train, moments=moments))

        stem = partial(_stem, skips=skips)
        if form == "remat" and skips is None:
            stem = _remat_stem()
        x = stem(self, x, norm, train)

        dense_block = partial(self._dense_block, norm=norm, train=train, remat=form == "remat")
        for block in range(1, len(self.depths)):
            x, moments = dense_block(x, block)
            name = f"transition{block}"
            x = nn.relu(norm(name=f"{name}_norm")(x, train=train, moments=moments))
            if skips is not None:
                skips.append(x)
            half = x.shape[-1] // 2
            x = Dense(half, use_bias=False, dtype=self.dtype, name=f"{name}_conv")(x)
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x, moments = dense_block(x, len(self.depths))
        return nn.relu(norm(name="final_norm")(x, train=train, moments=moments))

    def _layer_names(self, block: int) -> list[str]:
        layers = range(1, self.depths[block - 1] + 1)
        return [f"block{block}_layer{layer}" for layer in layers]

    def _dense_block(
        self, x: jax.Array, block: int, *, norm: partial, train: bool, remat: bool
    ) -> tuple[jax.Array, Moments | None]:
        """The feature maps of a block, and in training their moments.

        With `remat` the backward pass keeps the maps that each layer adds, not what they are
        concatenated and normalized to, and computes a layer's inside again (Pleiss et al. 2017,
        arXiv:1707.06990).
        """
        call = _call_layer
        if remat:
            call = nn.remat(_call_layer, static_argnums=3)
        maps = [x]
        moments = batch_moments(x) if train else None
        for name in self._layer_names(block):
            layer = DenseLayer(self.growth, norm, self.dtype, name=name)
            new = call(layer, maps, moments, train)
            maps.append(new)
            # With remat each layer concatenates inside, so that the result is not kept.
            if not remat:
                maps = [jnp.concatenate(maps, axis=-1)]
            if train:
                moments = concat_moments(moments, batch_moments(new))
        return jnp.concatenate(maps, axis=-1), moments

    def _fused_stem(self, x: jax.Array, norm: partial) -> tuple[tuple, jax.Array, Moments]:
        """How the blocks are computed, the first block's buffer, and the moments of its input."""
        from hpa_jax.models.fused.stages import plan_stages
        from hpa_jax.models.fused.stem import StemParams, fused_stem, plan_stem

        batch, height, width, _ = x.shape
        # Of the stem's result: the convolution and its pool round up.
        shape = (batch, -(-height // 4), -(-width // 4), self.stem)
        stages = plan_stages(shape, self.depths, self.growth, self.mesh, self.kernels)
        slabs = plan_stem(x.shape, stages[0], self.mesh)
        if slabs is None:
            x = _remat_stem()(self, x, norm, True)
            buffer = stages[0].backend.to_buffer(x, stages[0].channels)
            return stages, buffer, batch_moments(x)

        params = StemParams(
            self.get_variable("params", "stem_norm"), self.get_variable("params", "stem_conv")
        )
        images = x.astype(self.dtype)
        outputs = fused_stem(stages[0], slabs, BatchNorm.epsilon, images, params)
        statistics = self.get_variable("batch_stats", "stem_norm")
        updated = self._update_running(statistics, outputs.convolved)
        self.put_variable("batch_stats", "stem_norm", updated)
        return stages, outputs.buffer, outputs.maps

    def _fused_blocks(
        self, stages: tuple, buffer: jax.Array, moments: Moments
    ) -> tuple[jax.Array, Moments]:
        """The last block's feature maps and their moments, all blocks in their fused form.

        That form takes the parameters out of their layers, and the running statistics are put back
        into them.

        Args:
          stages: how the blocks are computed.
          buffer: of the first block, with the block's input.
          moments: of that input.
        """
        # Importing Pallas takes time, and most runs need none of it.
        from hpa_jax.models.fused.dense_block import dense_blocks
        from hpa_jax.models.fused.passes import TransitionParams

        blocks = range(1, len(self.depths) + 1)
        block_params = []
        transition_params = []
        for block in blocks:
            names = self._layer_names(block)
            block_params.append(tuple(self.get_variable("params", name) for name in names))
        for block in blocks[:-1]:
            norm = self.get_variable("params", f"transition{block}_norm")
            conv = self.get_variable("params", f"transition{block}_conv")
            transition_params.append(TransitionParams(norm, conv))

        buffer, moments = dense_blocks(
            stages,
            BatchNorm.epsilon,
            buffer,
            moments,
            tuple(block_params),
            tuple(transition_params),
        )
        for block, of_block in zip(blocks, moments, strict=True):
            layers = zip(self._layer_names(block), of_block.bottlenecks, strict=True)
            for name, of_bottleneck in layers:
                statistics = self.get_variable("batch_stats", name)
                norm1 = self._update_running(statistics["norm1"], of_block.maps)
                norm2 = self._update_running(statistics["norm2"], of_bottleneck)
                self.put_variable("batch_stats", name, {"norm1": norm1, "norm2": norm2})
            if block < len(self.depths):
                name = f"transition{block}_norm"
                statistics = self.get_variable("batch_stats", name)
                updated = self._update_running(statistics, of_block.maps)
                self.put_variable("batch_stats", name, updated)
        return stages[-1].backend.to_images(buffer), moments[-1].maps

    def _update_running(self, statistics: dict, moments: Moments) -> dict:
        """The running statistics of a norm after a step.

        A layer's input is a prefix of its block's maps, so its moments are a prefix of theirs.
        """
        updated = {}
        for name, new in moments._asdict().items():
            old = statistics[name]
            updated[name] = self.momentum * old + (1 - self.momentum) * new[: old.size]
        return updated


def _remat_stem() -> Callable:
    """`_stem`, of which the backward pass keeps the convolution's result in place of the images.

    On a TPU the images fill eight times their bytes in the layout in which the stem convolves them.
    """
    policy = jax.checkpoint_policies.save_only_these_names("stem")
    return nn.remat(_stem, policy=policy, static_argnums=(2, 3))


def _stem(
    net: DenseNet,
    x: jax.Array,
    norm: partial,
    train: bool,
    skips: list[jax.Array] | None = None,
) -> jax.Array:
    """Convolution, norm, ReLU, pool; the convolution's result is named for the remat policy."""
    conv = partial(Conv, strides=2, padding=3, use_bias=False, dtype=net.dtype)
    x = conv(net.stem, (7, 7), name="stem_conv")(x)
    x = checkpoint_name(x, "stem")
    moments = None
    if train:
        # Kept as well: they are few, and would take another pass over the result.
        moments = checkpoint_name(batch_moments(x), "stem")
    x = nn.relu(norm(name="stem_norm")(x, train=train, moments=moments))
    if skips is not None:
        skips.append(x)
    return max_pool(x, padding=1)


def _call_layer(
    layer: DenseLayer, maps: list[jax.Array], moments: Moments | None, train: bool
) -> jax.Array:
    x = maps[0]
    if len(maps) > 1:
        x = jnp.concatenate(maps, axis=-1)
    return layer(x, moments, train=train)
