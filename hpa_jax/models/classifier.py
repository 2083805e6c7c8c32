"""A backbone and a head under one roof, and the table that names the backbones."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.errors import InputError
from hpa_jax.models.densenet import DEPTHS, DenseNet
from hpa_jax.models.heads import HEADS

BACKBONES = {
    "densenet121": partial(DenseNet, depths=DEPTHS["densenet121"]),
    # A net of the same parts that compiles in seconds: for trying out a pipeline on a laptop, not for results.
    "densenet_tiny": partial(DenseNet, depths=(1, 2, 2, 1), growth=8, stem=16),
}


class Classifier(nn.Module):
    """Normalised images to logits.

    Attributes:
      backbone: one of BACKBONES.
      head: one of HEADS.
      labels: number of logits.
      dropout: share of the head's inputs that training drops.
      momentum: share of the old running statistics that a training step keeps.
      dtype: of the arithmetic; parameters, statistics and logits are float32.
    """

    backbone: str = "densenet121"
    head: str = "pooled"
    labels: int = 28
    dropout: float = 0.5
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to logits `float32 [B, labels]`; training needs an rng named 'dropout'."""
        backbone = BACKBONES[self.backbone](momentum=self.momentum, dtype=self.dtype, name="backbone")
        head = HEADS[self.head](self.labels, self.dropout, self.momentum, self.dtype, name="head")
        return head(backbone(images.astype(self.dtype), train=train), train=train)


def build_model(
    name: str, *, head: str, labels: int, dropout: float = 0.5, momentum: float = 0.9, dtype: str = "float32"
) -> Classifier:
    """A net by its name.

    Raises:
      InputError: a name that is not in its table; the error lists what is.
    """
    for what, value, known in (
        ("model.name", name, BACKBONES),
        ("model.head", head, HEADS),
        ("model.dtype", dtype, ("float32", "bfloat16")),
    ):
        if value not in known:
            raise InputError(f"config.{what}={value!r} is unknown; choose one of {', '.join(known)}")
    return Classifier(name, head, labels, dropout, momentum, jnp.dtype(dtype))
