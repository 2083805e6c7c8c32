"""A field's logits from those of its cells, weighed by gated attention: weak labels, no copies.

A field has the labels of its protein; no single cell is labelled. So each cell gets logits of its
own, and the field's logit of a label is their weighted mean, whose weights the net learns: cells
that do not show the label need not.

Design: backbone and head are those of a `Classifier`, under the same names, which with these
variables gives a cell's own logits. An export takes cells one by one and gives their scores of
attention too, from which the weights follow once all cells of a field are there. With one cell, the
field's logits are the cell's.
"""

from dataclasses import fields

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.models.classifier import Classifier, create_model
from hpa_jax.models.layers import Dense

# Of a cell that is not there, before the softmax: its weight is 0. Finite, so that a field without
# any cell, which fills up a batch, has numbers too.
_NOT_THERE = -1e30


class CellAttention(nn.Module):
    """Scores of a field's cells, for each label: their softmax over the cells is their weights.

    With h the embedding of a cell, the score of label l is
    `w_l (tanh(V h + v) * sigmoid(U h + u))`. The paper has one weighting for all labels; the cells
    that show one label need not show the other, so here each has its own, as in `AttentionHead`.

    Attributes:
      num_labels: L.
      width: of V h and U h.

    References:
      Ilse, Tomczak & Welling, Attention-based Deep Multiple Instance Learning, 2018,
      arXiv:1802.04712, equation 9.
    """

    num_labels: int
    width: int = 128

    @nn.compact
    def __call__(self, cells: jax.Array) -> jax.Array:
        """Embeddings, float32 [..., F], to scores, float32 [..., L]."""
        values = nn.tanh(Dense(self.width, name="tanh")(cells))
        gate = nn.sigmoid(Dense(self.width, name="gate")(cells))
        return Dense(self.num_labels, use_bias=False, name="weights")(values * gate)


def attention_weights(scores: jax.Array, is_cell: jax.Array) -> jax.Array:
    """Weights that sum to 1 over the cells of a field.

    Args:
      scores: float32 [B, C, L].
      is_cell: bool [B, C]; the others have the weight 0.

    Returns:
      float32 [B, C, L].
    """
    scores = jnp.where(is_cell[..., None], scores, _NOT_THERE)
    return nn.softmax(scores, axis=1)


class CellClassifier(Classifier):
    """Crops of cells to logits of their fields; attributes as of `Classifier`.

    Attributes:
      attention_width: as of `CellAttention`.
    """

    attention_width: int = 128

    def setup(self):
        super().setup()
        self._attention = CellAttention(
            self.num_labels, width=self.attention_width, name="attention"
        )

    def __call__(
        self, crops: jax.Array, is_cell: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Logits of fields.

        Args:
          crops: `float [B, C, S, S, channels]`, normalized.
          is_cell: `bool [B, C]`, which places have a cell of their own; None: all.
          train: as of `Classifier`.

        Returns:
          `float32 [B, num_labels]`.
        """
        count, cells = crops.shape[:2]
        if is_cell is None:
            is_cell = jnp.ones((count, cells), bool)
        features = self.features(crops.reshape(-1, *crops.shape[2:]), train=train)
        logits = self.classify(features, train=train).reshape(count, cells, -1)
        scores = self.attend(features).reshape(count, cells, -1)
        return jnp.sum(attention_weights(scores, is_cell) * logits, axis=1)

    def attend(self, features: jax.Array) -> jax.Array:
        """Last feature maps of crops, `[N, h, w, F]`, to scores of attention, float32 [N, L]."""
        return self._attention(jnp.mean(features.astype(jnp.float32), axis=(1, 2)))


def create_cell_classifier(name: str, *, attention_width: int = 128, **options) -> CellClassifier:
    """A net of cells, without parameters.

    Args:
      name: of the backbone.
      attention_width: as of `CellAttention`.
      options: of `create_model`, such as `head` and `num_labels`.

    Raises:
      InputError: as of `create_model`.
    """
    of_a_cell = create_model(name, **options)
    attributes = {field.name: getattr(of_a_cell, field.name) for field in fields(of_a_cell)}
    for own in ("parent", "name"):
        attributes.pop(own)
    return CellClassifier(**attributes, attention_width=attention_width)
