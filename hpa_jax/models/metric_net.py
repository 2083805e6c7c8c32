"""A net for metric learning: a backbone of the classifier's, and a head that makes embeddings."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from hpa_jax.errors import InputError
from hpa_jax.models.classifier import Classifier, create_model
from hpa_jax.models.embedding_head import EMBEDDING_HEADS, SIZE


class MetricNet(Classifier):
    """Normalized images to embeddings; variables are `backbone/...` and `head/...` as of any net.

    Attributes:
      embedding_size: values of an embedding, E.
      num_classes: directions that the loss learns beside it; 0: none.
      The others are those of `Classifier`; `head` is one of EMBEDDING_HEADS, and there are no
      labels.
    """

    embedding_size: int = SIZE
    num_classes: int = 0

    def make_head(self) -> nn.Module:
        """See `Classifier.make_head`."""
        head = EMBEDDING_HEADS[self.head]
        return head(
            self.embedding_size,
            self.num_classes,
            dropout=self.dropout,
            momentum=self.momentum,
            dtype=self.dtype,
            name="head",
        )

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Embeddings of images.

        Args:
          images: `float [B, H, W, C]`.
          train: whether to drop and to use batch moments; needs an rng named 'dropout'.

        Returns:
          `float32 [B, E]`, each of length 1.
        """
        return super().__call__(images, train=train)

    def embed(self, features: jax.Array) -> jax.Array:
        """The feature map `[B, h, w, F]` to embeddings `float32 [B, E]`, as in evaluation."""
        return self.classify(features, train=False)


def create_metric_net(
    name: str,
    *,
    head: str = "arcface",
    embedding_size: int = SIZE,
    num_classes: int = 0,
    dropout: float = 0.5,
    momentum: float = 0.9,
    dtype: str = "bfloat16",
    block: str = "plain",
    mesh: Mesh | None = None,
    kernels: bool = True,
    frozen_backbone: bool = False,
    stochastic_depth: float = 0.0,
) -> MetricNet:
    """A net for metric learning by its backbone's name, without parameters.

    Args:
      name: one of `list_models()`.
      head: one of EMBEDDING_HEADS.
      embedding_size: values of an embedding.
      num_classes: directions that the loss learns beside it, as `arcface` does; 0: none.
      dropout, momentum, dtype, block, mesh, kernels, frozen_backbone, stochastic_depth: as of
        `create_model`.

    Returns:
      A Flax module, images `float [B, H, W, C]` to embeddings `float32 [B, embedding_size]`, each
      of length 1. `init_variables` draws its parameters.

    Raises:
      InputError: as `create_model`, or no such head.
    """
    if head not in EMBEDDING_HEADS:
        heads = ", ".join(EMBEDDING_HEADS)
        raise InputError(
            f"config.model.head={head!r} makes no embedding; with config.train.task='metric' "
            f"choose one of {heads}"
        )
    # Refuses what no net with this backbone can be.
    create_model(
        name,
        head="linear",
        dtype=dtype,
        block=block,
        mesh=mesh,
        stochastic_depth=stochastic_depth,
    )
    return MetricNet(
        backbone=name,
        head=head,
        num_labels=0,
        dropout=dropout,
        momentum=momentum,
        dtype=jnp.dtype(dtype),
        block=block,
        mesh=mesh,
        kernels=kernels,
        frozen_backbone=frozen_backbone,
        stochastic_depth=stochastic_depth,
        embedding_size=embedding_size,
        num_classes=num_classes,
    )
