"""What runs on the devices where a net learns embeddings: its objective, and embedding a batch."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from hpa_jax.config import Metric
from hpa_jax.models import class_weights
from hpa_jax.optim import metric_losses
from hpa_jax.parallel.mesh import image_replicator, replicated, row_sharder
from hpa_jax.training.steps import make_score_step, preparation_of
from hpa_jax.training.update import Batch, Objective
from hpa_jax.transforms.augment import augment_images, prepare

_EmbeddingLoss = Callable[[dict, jax.Array, "ClassifiedImages"], tuple[jax.Array, jax.Array]]
"""Parameters, embeddings `[B, E]` and the batch to the loss and to the images that are right."""


class ClassifiedImages(NamedTuple):
    """Prepared images `float32 [B, H, W, C]`, targets `[B, L]`, classes int32 `[B]`."""

    images: jax.Array
    targets: jax.Array
    classes: jax.Array


def metric_objective(
    model: nn.Module,
    settings: Metric,
    *,
    augmentation: dict,
    preparation: dict,
    mesh: Mesh | None = None,
) -> Objective:
    """The loss of embeddings by what belongs together in a batch.

    Args:
      model: images to embeddings.
      settings: section of the configuration.
      augmentation, preparation, mesh: as of `steps.label_objective`.

    Returns:
      Of batches with `image` uint8 `[B, H, W, 4]`, `targets` 0/1 `[B, L]`, `class` int32 `[B]`,
      and `source` int32 `[B]`. The metric is `nearest_accuracy`: with arcface, the fraction of the
      images that are nearer to their own class than to any other (without the margin); with
      contrastive, of those that have another of their kind in the batch, those whose nearest
      image in it is one.
    """
    shard_rows = row_sharder(mesh)
    replicate_images = image_replicator(mesh)
    loss_of = _LOSSES[settings.loss](settings)

    def prepare_batch(batch: Batch, key: jax.Array) -> ClassifiedImages:
        images = augment_images(
            batch["image"],
            key,
            rows=None,
            shard_rows=shard_rows,
            replicate=replicate_images,
            **augmentation,
        )
        images = shard_rows(prepare(images, **preparation_of(batch, preparation)))
        return ClassifiedImages(images, batch["targets"], batch["class"])

    def batch_loss(variables: dict, inputs: ClassifiedImages, step: jax.Array, key: jax.Array):
        del step
        embeddings, updates = model.apply(
            variables, inputs.images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        value, accuracy = loss_of(variables["params"], embeddings, inputs)
        return value, ({"nearest_accuracy": accuracy}, updates.get("batch_stats", {}))

    return Objective(prepare_batch, batch_loss)


def _arcface(settings: Metric) -> _EmbeddingLoss:
    def loss(params: dict, embeddings: jax.Array, inputs: ClassifiedImages):
        weights = class_weights(params)
        value = metric_losses.arcface(
            embeddings, weights, inputs.classes, scale=settings.scale, margin=settings.margin
        )
        found = metric_losses.cosines(embeddings, weights)
        return value, jnp.mean(jnp.argmax(found, axis=-1) == inputs.classes)

    return loss


def _contrastive(settings: Metric) -> _EmbeddingLoss:
    def weights_of(inputs: ClassifiedImages) -> jax.Array:
        if settings.target == "groups":
            return metric_losses.same_class_weights(inputs.classes)
        return metric_losses.LABEL_SET_WEIGHTS[settings.pairs](inputs.targets)

    def loss(params: dict, embeddings: jax.Array, inputs: ClassifiedImages):
        del params
        weights = weights_of(inputs)
        value = metric_losses.supervised_contrastive(
            embeddings, weights, temperature=settings.temperature
        )
        is_other = ~jnp.eye(len(embeddings), dtype=bool)
        found = jnp.where(is_other, metric_losses.cosines(embeddings, embeddings), -jnp.inf)
        nearest = jnp.argmax(found, axis=-1)
        is_kind = is_other & (weights > 0)
        is_right = jnp.take_along_axis(is_kind, nearest[:, None], axis=-1)[:, 0]
        asked = jnp.any(is_kind, axis=-1)
        return value, jnp.sum(is_right) / jnp.maximum(jnp.sum(asked), 1)

    return loss


_LOSSES: dict[str, Callable[[Metric], _EmbeddingLoss]] = {
    "arcface": _arcface,
    "contrastive": _contrastive,
}


def make_embed_step(model: nn.Module, preparation: dict, mesh: Mesh) -> jax.stages.Wrapped:
    """Embeds a batch; every process gets the embeddings of all its images.

    Args:
      model: in its plain form.
      preparation: keyword arguments of `prepare`.
      mesh: of the devices.

    Returns:
      A jitted function of the embeddings before (donated: their memory is taken), variables and a
      batch (`image` uint8 `[B, H, W, 4]`) to embeddings float32 `[B, E]`, replicated.
    """
    score_step = make_score_step(model, preparation=preparation, mesh=mesh)

    def embed_step(before: jax.Array, variables: dict, batch: Batch) -> jax.Array:
        del before
        return score_step(variables, batch["image"])

    return jax.jit(embed_step, donate_argnums=0, out_shardings=replicated(mesh), keep_unused=True)
