"""The forward pass that is exported: from its Python form to the bytes of forward.jaxexport."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from hpa_jax.config import Config
from hpa_jax.labels import CHANNELS
from hpa_jax.models import create_metric_net
from hpa_jax.optim.losses import is_single_label, probabilities_function
from hpa_jax.serving.maps import CLOSED_FORMS, gradient_maps
from hpa_jax.serving.traced import trace_for_any_batch
from hpa_jax.training import parts
from hpa_jax.transforms import normalize
from hpa_jax.transforms.augment import prepare


def forward_pass(config: Config, *, closed_form: bool = False) -> Callable:
    """The function that is exported.

    Args:
      config: of the run.
      closed_form: without maps that take a gradient; then a head has maps only where
        there is a closed form for it (maps.py). A net that learns embeddings has none.

    Returns:
      `(flat variables, uint8 [B, H, W, 4])` to a dict, computed in float32 whatever the run's
      dtype:
        probabilities   `[B, L]`, a softmax over the labels where each image has one
        embedding       `[B, F]`, the mean of the backbone's last feature map over its positions
        maps            `[B, h, w, L]`, class-activation maps as of `evaluation/grad_cam.py`, 0 or
                        more, in units of the logit
      Of a run that has learnt embeddings there is `embedding` alone, its head's, of length 1. One
      that has learnt cells has `attention` too, `[B, L]`: the softmax over the cells of a field
      weighs their logits.
    """
    if config.train.task == "metric":
        return _embedding_pass(config)
    exact = dataclasses.replace(config.model, dtype="float32")
    config = dataclasses.replace(config, model=exact)
    of_cells = config.train.task == "cells"
    model = parts.make_cell_net(config) if of_cells else parts.make_net(config)
    preparation = normalize.preparation(config.data)
    probabilities = probabilities_function(single_label=is_single_label(config.train.loss))
    maps_of = CLOSED_FORMS.get(model.head)
    if maps_of is None and not closed_form:
        maps_of = gradient_maps

    def forward(flat_variables: dict, images: jax.Array) -> dict[str, jax.Array]:
        variables = unflatten_dict(flat_variables, sep="/")
        # Else GPUs and TPUs multiply in fewer bits, and miss the golden output.
        with jax.default_matmul_precision("highest"):
            images = prepare(images, **preparation)
            features = model.apply(variables, images, train=False, method="features")
            logits = model.apply(variables, features, train=False, method="classify")
            outputs = {
                "probabilities": probabilities(logits),
                "embedding": jnp.mean(features, axis=(1, 2)),
            }
            if of_cells:
                outputs["attention"] = model.apply(variables, features, method="attend")
            if maps_of is not None:
                outputs["maps"] = maps_of(model, variables, features)
            return outputs

    return forward


def _embedding_pass(config: Config) -> Callable:
    """`forward_pass` of a run that has learnt embeddings."""
    model = create_metric_net(
        config.model.name,
        head=config.model.head,
        embedding_size=config.metric.embedding_size,
        # They are for the loss; an export leaves them out.
        num_classes=0,
        dropout=config.model.dropout,
        momentum=config.model.bn_momentum,
        dtype="float32",
    )
    preparation = normalize.preparation(config.data)

    def forward(flat_variables: dict, images: jax.Array) -> dict[str, jax.Array]:
        variables = unflatten_dict(flat_variables, sep="/")
        with jax.default_matmul_precision("highest"):
            images = prepare(images, **preparation)
            return {"embedding": model.apply(variables, images, train=False)}

    return forward


def export_forward(config: Config, variables: dict[str, np.ndarray]) -> jax.export.Exported:
    """Traces the forward pass for any number of images, for PLATFORMS.

    Args:
      config: of the run.
      variables: float32 arrays by flat name, for their shapes.
    """
    size = config.data.image_size
    return trace_for_any_batch(forward_pass(config), variables, (size, size, len(CHANNELS)))


def golden_images(size: int) -> np.ndarray:
    """Random images, uint8 `[2, size, size, 4]`, the same ones always."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, size, size, len(CHANNELS)), np.uint8)
