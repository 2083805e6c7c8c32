"""Heads that make embeddings of feature maps, for metric learning.

To add one: write a subclass of `EmbeddingHead` whose `__call__` takes feature maps `[B, h, w, F]`
and returns `float32 [B, size]`, each row with a length of 1, and name it in the table
`EMBEDDING_HEADS` at the end of this file; `config.model.head` takes it by that name where
`config.train.task` is `metric`. What losses of its own have to learn beside the embedding (class
weights) are parameters of the head too, so that a checkpoint has them, and evaluation and exports
leave them alone.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.layers import Dense, parameter
from hpa_jax.models.norm import BatchNorm
from hpa_jax.models.pooling import mean_and_max

SIZE = 512
"""Values of an embedding, unless it is said otherwise; the winners' have as many."""


class EmbeddingHead(nn.Module):
    """The attributes of every head.

    Attributes:
      size: values of an embedding, E.
      num_classes: directions that a loss learns beside it, C; 0: none.
      dropout: fraction of its inputs that training drops.
      momentum: of its batch norms.
      dtype: of the arithmetic; embeddings are float32.
    """

    size: int
    num_classes: int
    dropout: float
    momentum: float
    dtype: jnp.dtype


class ArcFaceHead(EmbeddingHead):
    """Mean and maximum over the map, a dense layer, and one to the embedding, of length 1.

    Pooled, batch norm, dropout, dense 512, ReLU, batch norm, dropout, dense E, batch norm, length
    1: the layers of the winners' net for retrieval, whose first dense layer is four times as wide.
    Takes any image size. The class weights are `head/classes/kernel`, float32 `[E, C]`, a column
    for each class; `class_weights` gives them in the loss's form.

    References:
      `ResnetClass` in bestfitting/src/networks/resnet_ml.py (CellProfiling/
      HPA-competition-solutions); Deng et al. 2019, arXiv:1801.07698, section 3.1.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = mean_and_max(x)
        x = BatchNorm(self.momentum, dtype=self.dtype, name="pool_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(512, dtype=self.dtype, name="dense")(x))
        x = BatchNorm(self.momentum, dtype=self.dtype, name="dense_norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = Dense(self.size, dtype=jnp.float32, name="embedding")(x)
        x = BatchNorm(self.momentum, dtype=jnp.float32, name="embedding_norm")(x, train=train)
        if self.num_classes:
            _ClassWeights(self.size, self.num_classes, name="classes")()
        return _unit_length(x)


class _ClassWeights(nn.Module):
    """One direction a class: `float32 [E, C]`, as the kernel of a dense layer."""

    size: int
    num_classes: int

    @nn.compact
    def __call__(self) -> jax.Array:
        shape = (self.size, self.num_classes)
        return parameter(self, "kernel", nn.initializers.lecun_normal(), shape)


def class_weights(params: dict) -> jax.Array:
    """A head's class weights as a loss takes them.

    Args:
      params: of the net, `{"backbone", "head"}`.

    Returns:
      `float32 [C, E]`.
    """
    return params["head"]["classes"]["kernel"].T


def _unit_length(x: jax.Array) -> jax.Array:
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, 1e-12))


EMBEDDING_HEADS = {"arcface": ArcFaceHead}
