"""From feature maps to logits: the seed study's head, one that pools in place of flattening, a linear one, All-CNN's
own, and attention over places or tiles."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Dense
from hpa_jax.models.norm import BatchNorm

HPA_DENSENET_CHANNELS = 128
"""Feature maps that the seed study's head flattens."""
HPA_DENSENET_LIMIT = 200_000
"""Values that it flattens at most: its first dense layer then has 102 million weights."""


class Head(nn.Module):
    """What all heads are told.

    Attributes:
      labels: number of logits.
      dropout: share of its inputs that training drops.
      momentum: of its batch norms.
      dtype: of the arithmetic; logits are float32.
    """

    labels: int
    dropout: float
    momentum: float
    dtype: jnp.dtype


class HpaDenseNetHead(Head):
    """1x1 convolution to 128, flatten, dropout, dense 512 ReLU, dense n: the seed study's head.

    Flattening fixes the image size: 16.8 million parameters at 512 px. The study does not say whether the 1x1
    convolution is rectified; the public notebooks of the challenge that have this head do so, and so does this.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.relu(Dense(HPA_DENSENET_CHANNELS, dtype=self.dtype, name="conv")(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(512, dtype=self.dtype, name="dense")(x))
        return Dense(self.labels, dtype=jnp.float32, name="logits")(x)


class PooledHead(Head):
    """Mean and maximum over the map side by side, batch norm, dropout, dense 512 ReLU, batch norm, dropout, dense n.

    Takes any image size. The head of the challenge's first place (bestfitting, in
    CellProfiling/HPA-competition-solutions).
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        mean = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        x = jnp.concatenate([mean, global_maximum(x).astype(jnp.float32)], axis=-1)
        x = BatchNorm(self.momentum, dtype=self.dtype, name="pool_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(512, dtype=self.dtype, name="dense")(x))
        x = BatchNorm(self.momentum, dtype=self.dtype, name="dense_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Dense(self.labels, dtype=jnp.float32, name="logits")(x)


def global_maximum(x: jax.Array) -> jax.Array:
    """The largest value of each map of `[B, h, w, F]`: `[B, F]`; its gradient goes to one place, the first of equals.

    Not jnp.max, whose gradient is shared out to `x == maximum`, over their number: where XLA computes `x` twice, once
    for the maximum and once for the comparison, with different roundings, none is equal and the gradient is 0 / 0.

    First along each row, then over the rows: these may be cut over devices (mesh.py), where one argmax over all places
    would gather them. The barrier has each row's largest value computed once, for the maximum and the comparison alike.
    """
    column = jnp.argmax(x, axis=2, keepdims=True)
    x = jnp.sum(jnp.where(jnp.arange(x.shape[2])[:, None] == column, x, 0), axis=2)
    rows, number = (
        jax.lax.optimization_barrier(jax.lax.stop_gradient(x)),
        jnp.arange(x.shape[1])[:, None],
    )
    largest = ~(
        rows < jnp.max(rows, axis=1, keepdims=True)
    )  # also where the largest is not a number
    first = jnp.min(jnp.where(largest, number, x.shape[1]), axis=1, keepdims=True)
    return jnp.sum(jnp.where(number == first, x, 0), axis=1)


class LinearHead(Head):
    """Mean over the map, dropout, one dense layer: the head of the DenseNet paper, which published weights bring."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Dense(self.labels, dtype=jnp.float32, name="logits")(x)


class AllCNNHead(Head):
    """1x1 convolution to n, mean over the map: All-CNN's own (Springenberg et al. 2015, arXiv:1412.6806, Table 1).

    The paper rectifies the convolution, ahead of a softmax; a logit that is never negative would be a score that is
    never below 0.5, so this does not. No dropout here: that net's is within the backbone.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return jnp.mean(Dense(self.labels, dtype=jnp.float32, name="logits")(x), axis=(1, 2))


class AttentionHead(Head):
    """Gated attention over the places of a map, or over tiles (tiles.py): for each label, a mean over the places whose
    weights the head learns (Ilse, Tomczak & Welling 2018, arXiv:1802.04712, equations 7 and 9).

    With h the features of a place after batch norm, dropout and dense 512 ReLU, label l's weights are the softmax over
    the places of `w_l (tanh(V h) * sigmoid(U h))`, 128 values wide, and its logit is `c_l (sum of weight * h) + b_l`.
    The paper has one weighting for all; a field's labels lie in different places of its cells, so here each has its
    own. Takes any image size.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        x = BatchNorm(self.momentum, dtype=self.dtype, name="pool_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(512, dtype=self.dtype, name="dense")(x))
        gated = nn.tanh(Dense(128, dtype=self.dtype, name="attention_tanh")(x)) * nn.sigmoid(
            Dense(128, dtype=self.dtype, name="attention_gate")(x)
        )
        weights = nn.softmax(
            Dense(self.labels, use_bias=False, dtype=jnp.float32, name="attention")(gated), axis=1
        )
        # The logit of the weighted mean is the weighted mean of the places' logits, which is less to hold.
        return jnp.sum(weights * Dense(self.labels, dtype=jnp.float32, name="logits")(x), axis=1)


HEADS = {
    "seed": HpaDenseNetHead,
    "pooled": PooledHead,
    "linear": LinearHead,
    "all_cnn": AllCNNHead,
    "attention": AttentionHead,
}
"""By name; one that bears a backbone's name goes with that backbone alone."""
