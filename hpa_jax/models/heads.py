"""From feature maps to logits: the seed study's head, the same with pooling in place of flattening, and a linear
one."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.norm import BatchNorm


class SeedHead(nn.Module):
    """1x1 convolution to 128, flatten, dropout, dense 512 ReLU, dense n: the seed study's head.

    Flattening fixes the image size: 16.8 million parameters at 512 px. The study does not say whether the 1x1
    convolution is rectified; the public notebooks of the challenge that have this head do so, and so does this.
    """

    labels: int
    dropout: float
    momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.relu(nn.Dense(128, dtype=self.dtype, name="conv")(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(nn.Dense(512, dtype=self.dtype, name="dense")(x))
        return nn.Dense(self.labels, dtype=jnp.float32, name="logits")(x)


class PooledHead(nn.Module):
    """Mean and maximum over the map side by side, batch norm, dropout, dense 512 ReLU, batch norm, dropout, dense n.

    Takes any image size. The head of the challenge's first place (bestfitting, in
    CellProfiling/HPA-competition-solutions).
    """

    labels: int
    dropout: float
    momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        mean = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        x = jnp.concatenate([mean, jnp.max(x, axis=(1, 2)).astype(jnp.float32)], axis=-1)
        x = BatchNorm(self.momentum, dtype=self.dtype, name="pool_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(nn.Dense(512, dtype=self.dtype, name="dense")(x))
        x = BatchNorm(self.momentum, dtype=self.dtype, name="dense_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(self.labels, dtype=jnp.float32, name="logits")(x)


class LinearHead(nn.Module):
    """Mean over the map, dropout, one dense layer: the head of the DenseNet paper, which published weights bring."""

    labels: int
    dropout: float
    momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(self.labels, dtype=jnp.float32, name="logits")(x)


HEADS = {"seed": SeedHead, "pooled": PooledHead, "linear": LinearHead}
