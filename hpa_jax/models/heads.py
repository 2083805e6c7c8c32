"""Heads: from feature maps to logits.

To add a head: write a subclass of `Head` whose `__call__` takes feature maps `[B, h, w, F]` and
returns logits `float32 [B, num_labels]`, and name it in the table `HEADS` at the end of this file;
`config.model.head` takes it by that name. A head under the name of a backbone
(`classifier.BACKBONES`) goes with that backbone only. Its parameters are stored under
`head/<layer>`: give each layer a name, and the layer that makes the logits the name `logits`, whose
bias `config.train.prior_bias` sets. tests/models/test_classifier.py lists the parameters of each
head.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Dense
from hpa_jax.models.norm import BatchNorm, layer_norm
from hpa_jax.models.pooling import mean_and_max

HPA_DENSENET_CHANNELS = 128
"""Channels that the head of the hpa_densenet baseline flattens."""
HPA_DENSENET_MAX_VALUES = 200_000
"""Values it flattens at most; its first dense layer then has 102 million weights."""


class Head(nn.Module):
    """The attributes of every head.

    Attributes:
      num_labels: number of logits.
      dropout: fraction of its inputs that training drops.
      momentum: of its batch norms.
      dtype: of the arithmetic; logits are float32.
    """

    num_labels: int
    dropout: float
    momentum: float
    dtype: jnp.dtype


class HpaDenseNetHead(Head):
    """The head of the hpa_densenet baseline, which flattens.

    1x1 convolution to 128, ReLU, flatten, dropout, dense 512, ReLU, dense. Flattening fixes the
    image size: 16.8 million parameters at 512 px. The study does not say whether a ReLU follows the
    1x1 convolution; the challenge's public notebooks with this head have one, and so does this.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.relu(Dense(HPA_DENSENET_CHANNELS, dtype=self.dtype, name="conv")(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(512, dtype=self.dtype, name="dense")(x))
        return Dense(self.num_labels, dtype=jnp.float32, name="logits")(x)


class PooledHead(Head):
    """Mean and maximum over the map, then two dense layers, each after batch norm and dropout.

    Takes any image size.

    References:
      The first place of the challenge (bestfitting), in CellProfiling/HPA-competition-solutions.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = mean_and_max(x)
        x = BatchNorm(self.momentum, dtype=self.dtype, name="pool_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(512, dtype=self.dtype, name="dense")(x))
        x = BatchNorm(self.momentum, dtype=self.dtype, name="dense_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Dense(self.num_labels, dtype=jnp.float32, name="logits")(x)


class LinearHead(Head):
    """Mean over the map, dropout, one dense layer.

    The head of the DenseNet paper, and the one that published weights come with.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        # In float32: a mean over many bfloat16 values loses those that come last.
        x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Dense(self.num_labels, dtype=jnp.float32, name="logits")(x)


class NormLinearHead(Head):
    """Mean over the map, layer norm, dropout, one dense layer.

    The head that a ConvNeXt's published weights come with.

    References:
      Liu et al., A ConvNet for the 2020s, 2022, arXiv:2201.03545.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        x = layer_norm(name="norm")(x)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return Dense(self.num_labels, dtype=jnp.float32, name="logits")(x)


class AllCNNHead(Head):
    """1x1 convolution, mean over the map: the head of All-CNN.

    The paper has a ReLU after the convolution, before a softmax; a logit that is never negative
    would be a score that is never below 0.5, so there is none here. No dropout either: All-CNN has
    its own within the backbone.

    References:
      Springenberg et al., Striving for Simplicity, 2015, arXiv:1412.6806, Table 1.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Dense(self.num_labels, dtype=jnp.float32, name="logits")(x)
        return jnp.mean(x, axis=(1, 2))


class AttentionHead(Head):
    """Gated attention over the positions of a map, or over tiles (tiling.py).

    With h the features of a position after batch norm, dropout, dense 512 and ReLU, the weights of
    label l are the softmax over the positions of `w_l (tanh(V h) * sigmoid(U h))`, 128 values wide,
    and its logit is `c_l (sum of weight * h) + b_l`. The paper has one weighting for all labels;
    the labels of an image lie in different places of its cells, so here each has its own. Takes any
    image size.

    References:
      Ilse, Tomczak & Welling, Attention-based Deep Multiple Instance Learning, 2018,
      arXiv:1802.04712, equations 7 and 9.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        x = BatchNorm(self.momentum, dtype=self.dtype, name="pool_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(512, dtype=self.dtype, name="dense")(x))

        values = nn.tanh(Dense(128, dtype=self.dtype, name="attention_tanh")(x))
        gate = nn.sigmoid(Dense(128, dtype=self.dtype, name="attention_gate")(x))
        attention = Dense(self.num_labels, use_bias=False, dtype=jnp.float32, name="attention")
        weights = nn.softmax(attention(values * gate), axis=1)

        # The logit of the weighted mean is the weighted mean of the positions' logits, which is
        # less to keep.
        logits = Dense(self.num_labels, dtype=jnp.float32, name="logits")(x)
        return jnp.sum(weights * logits, axis=1)


HEADS = {
    "hpa_densenet": HpaDenseNetHead,
    "pooled": PooledHead,
    "linear": LinearHead,
    "norm_linear": NormLinearHead,
    "all_cnn": AllCNNHead,
    "attention": AttentionHead,
}
