"""Several trained backbones as one net: their embeddings, side by side, into one small head.

The backbones are frozen: in training, too, they do what they do in evaluation, and get no gradient.
What they make of an image are its features; the head and the votes of neighbours (votes.py) go by
these alone.

Design:
- an embedding is the mean of a backbone's last feature map. Nets differ in the size of their
  values, so each is divided by its length, and all of them together have length 1: a product of two
  embeddings is the mean of the parts' cosine similarities;
- the feature maps themselves are divided by that length and joined along the channels. So the mean
  of the joined map is the joined embedding, and all that takes a net's last feature map
  (activation maps, the embedding of an export, a probe) takes this one as any other;
- all that is frozen lies under `backbone/`, so that the optimizer leaves it alone and keeps nothing
  for it, as where a head alone is trained again.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hpa_jax.errors import InputError
from hpa_jax.models.classifier import BACKBONES, DTYPES, Classifier
from hpa_jax.models.heads import Head
from hpa_jax.models.layers import Dense
from hpa_jax.models.norm import BatchNorm
from hpa_jax.models.votes import Bank, VoteSettings, blend_logits

FUSION = "fusion"
"""`config.model.name` and `config.model.head` of a fused net."""

_SHORTEST = 1e-12
"""Squared length of an embedding, below which it is not scaled up any further."""


def part_names(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Under which names the parts' variables lie in `backbone/`: a net may be there twice."""
    return tuple(f"part{number}_{net}" for number, net in enumerate(parts, start=1))


class FusedBackbones(nn.Module):
    """Images to the feature maps of all parts, joined.

    Attributes:
      parts: names of BACKBONES.
      num_labels: of the images in the bank.
      votes: of neighbours, from a bank that lies here since it is frozen as the parts are; None:
        there is none.
      dtype: of the parts' arithmetic.
    """

    parts: tuple[str, ...]
    num_labels: int = 0
    votes: VoteSettings | None = None
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        if self.votes is not None:
            self._bank = Bank(self.votes, self.num_labels, name="bank")
        nets = []
        for net, name in zip(self.parts, part_names(self.parts), strict=True):
            nets.append(BACKBONES[net](dtype=self.dtype, name=name))
        self._nets = nets

    @property
    def MIN_IMAGE_SIZE(self) -> int:
        """px a side that every part takes."""
        return max(BACKBONES[net]().MIN_IMAGE_SIZE for net in self.parts)

    @nn.nowrap
    def feature_map_size(self, image_size: int) -> int:
        """Side of the joined map, for images of `image_size` px.

        Raises:
          InputError: the parts' maps have several sizes.
        """
        sizes = {net: BACKBONES[net]().feature_map_size(image_size) for net in self.parts}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{net} {size}" for net, size in sizes.items())
            raise InputError(
                f"config.fusion.runs: the last feature maps of images of {image_size} px have "
                f"different sides ({found}) and cannot be joined; choose nets and a "
                "config.data.image_size, such as a multiple of 32, with which they agree"
            )
        return next(iter(sizes.values()))

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """`float [B, H, W, C]` to `float32 [B, h, w, F]`, F the sum over the parts.

        The mean over the positions is the embedding, of length 1. `train` changes nothing.
        """
        del train
        maps = [net(x, train=False).astype(jnp.float32) for net in self._nets]
        fraction = len(maps) ** -0.5
        return jnp.concatenate([fraction * _unit_mean(one) for one in maps], axis=-1)

    def vote(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Votes `float32 [B, L]` by the features of images, and their weight `[1]`."""
        return self._bank(jnp.mean(features, axis=(1, 2)))


def _unit_mean(x: jax.Array) -> jax.Array:
    """`[B, h, w, F]`, each image's map divided by the length of its mean."""
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    squared = jnp.sum(jnp.square(mean), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST))


class FusionHead(Head):
    """Mean over the map, batch norm, dropout, one hidden layer, logits.

    Attributes:
      width: values of the hidden layer.
    """

    width: int = 256

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = jnp.mean(x, axis=(1, 2))
        x = BatchNorm(self.momentum, dtype=self.dtype, name="norm")(x, train=train)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = nn.relu(Dense(self.width, dtype=self.dtype, name="dense")(x))
        return Dense(self.num_labels, dtype=jnp.float32, name="logits")(x)


class FusionNet(Classifier):
    """Normalized images to logits, by several frozen backbones and one head.

    Attributes:
      parts: names of BACKBONES, one or more.
      width: values of the head's hidden layer.
      votes: of neighbours, blended with the head's scores wherever the net does not train; None:
        the head alone.
      single_label: every image has exactly one label.
      The others are those of `Classifier`; `backbone` and `head` are FUSION.
    """

    parts: tuple[str, ...] = ()
    width: int = 256
    votes: VoteSettings | None = None
    single_label: bool = False

    @nn.nowrap
    def make_backbone(self) -> nn.Module:
        """See `Classifier.make_backbone`."""
        return FusedBackbones(
            self.parts, self.num_labels, self.votes, dtype=self.dtype, name="backbone"
        )

    def make_head(self) -> nn.Module:
        """See `Classifier.make_head`."""
        return FusionHead(
            self.num_labels,
            dropout=self.dropout,
            momentum=self.momentum,
            dtype=self.dtype,
            width=self.width,
            name="head",
        )

    def classify(self, features: jax.Array, *, train: bool) -> jax.Array:
        """The feature map `[B, h, w, F]` to logits `float32 [B, num_labels]`.

        In training they are the head's alone: the images that it learns from are in the bank.
        """
        logits = self._head(features, train=train)
        if train or self.votes is None:
            return logits
        votes, weight = self._backbone.vote(features)
        return blend_logits(logits, votes, weight, single_label=self.single_label)

    def logits_and_votes(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The head's logits and the neighbours' votes, `float32 [B, num_labels]` each."""
        votes, _ = self._backbone.vote(features)
        return self._head(features, train=False), votes


def create_fusion_net(
    parts: tuple[str, ...],
    *,
    num_labels: int = 28,
    width: int = 256,
    dropout: float = 0.5,
    momentum: float = 0.9,
    dtype: str = "bfloat16",
    votes: VoteSettings | None = None,
    single_label: bool = False,
) -> FusionNet:
    """A fused net, without parameters.

    Args:
      parts: names of BACKBONES; one may come several times.
      num_labels: number of logits.
      width: values of the head's hidden layer.
      dropout: fraction of the joined embedding that training drops.
      momentum: of the head's batch norm.
      dtype: of the arithmetic, 'float32' or 'bfloat16'.
      votes: of neighbours; None: the head alone.
      single_label: every image has exactly one label, as votes need to know.

    Returns:
      A Flax module, images `float [B, H, W, C]` to logits `float32 [B, num_labels]`.
      `init_variables` draws its parameters; those of the parts are meant to be replaced by trained
      ones.

    Raises:
      InputError: no parts, or an unknown name.
    """
    if not parts:
        raise InputError(
            "config.model.name='fusion' has no parts; give config.fusion.runs, the folders of "
            "finished runs"
        )
    for net in parts:
        if net not in BACKBONES:
            known = ", ".join(BACKBONES)
            raise InputError(f"config.fusion.parts: {net!r} is unknown; choose among {known}")
    if dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise InputError(f"config.model.dtype={dtype!r} is unknown; choose one of {known}")
    return FusionNet(
        backbone=FUSION,
        head=FUSION,
        num_labels=num_labels,
        dropout=dropout,
        momentum=momentum,
        dtype=jnp.dtype(dtype),
        frozen_backbone=True,
        parts=tuple(parts),
        width=width,
        votes=votes,
        single_label=single_label,
    )
