"""From images to features: a run's net, an export's, the same net before any training.

The embedding is the mean of the backbone's last feature map over its positions, computed as an
export computes it (`hpa_jax.serving.forward`): in float32, whatever the run's dtype.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from hpa_jax.config import Config, from_dict
from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.parallel import memory
from hpa_jax.parallel.mesh import batch_sharding, put_batch, put_replicated
from hpa_jax.probe.examples import EMBEDDING, HISTOGRAM, UNTRAINED
from hpa_jax.probe.histogram import intensity_histograms
from hpa_jax.serving import Served
from hpa_jax.serving.forward import forward_pass
from hpa_jax.training import parts

Embed = Callable[[np.ndarray], np.ndarray]


class Embedder(NamedTuple):
    """What makes features of images.

    Attributes:
      name: of the features.
      embed: uint8 `[B, H, W, 4]` to float32 `[B, F]`, for one B throughout.
    """

    name: str
    embed: Embed


def of_run(predictor: Predictor, seed: int) -> Sequence[Embedder]:
    """A run's net, and beside it the baselines.

    Args:
      predictor: of the checkpoint.
      seed: of the untrained net.
    """
    config = predictor.config
    embed = _embed_with(config, predictor.variables, predictor.mesh)
    return Embedder(EMBEDDING, embed), *_baselines(config, predictor.mesh, seed)


def of_export(served: Served, batch_size: int, seed: int) -> Sequence[Embedder]:
    """An export's net, and beside it the baselines.

    Args:
      served: the export.
      batch_size: of the images that will come.
      seed: of the untrained net.

    Raises:
      InputError: the export has no embedding, or does not say which net it is of.
    """
    if EMBEDDING not in served.outputs:
        raise InputError(f"{served.folder} gives no embedding; export the run again")
    config = _exported_config(served)
    config.data.batch_size = batch_size
    mesh = parts.make_mesh(config.data, config.model)

    def embed(images: np.ndarray) -> np.ndarray:
        return served.run(images, (EMBEDDING,))[EMBEDDING]

    return Embedder(EMBEDDING, embed), *_baselines(config, mesh, seed)


def _exported_config(served: Served) -> Config:
    """The configuration of the run that was exported, without where its data are."""
    try:
        return from_dict(served.description["provenance"]["config"])
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{served.folder}: model.json does not say of which net it is; export the run again"
        ) from None


def _baselines(config: Config, mesh: Mesh, seed: int) -> tuple[Embedder, Embedder]:
    model = parts.make_net(config)
    shape = parts.input_shape(config.data)
    variables = parts.initial_variables(model, shape, seed)
    untrained = _embed_with(config, put_replicated(variables, mesh), mesh)
    return Embedder(UNTRAINED, untrained), Embedder(HISTOGRAM, intensity_histograms)


def _embed_with(config: Config, variables: dict, mesh: Mesh) -> Embed:
    forward = forward_pass(config, closed_form=True)
    flat_variables = flatten_dict(variables, sep="/")

    def embedding_of(flat_variables: dict, images: jax.Array) -> jax.Array:
        return forward(flat_variables, images)[EMBEDDING]

    jitted = jax.jit(embedding_of, out_shardings=batch_sharding(mesh))
    program = None

    def embed(images: np.ndarray) -> np.ndarray:
        nonlocal program
        arguments = (flat_variables, put_batch({"image": images}, mesh)["image"])
        if program is None:
            program = memory.compile_within(
                "embedding a batch",
                jitted,
                *arguments,
                devices=mesh.devices.flat,
                advice=memory.advice(config, "evaluate"),
            )
        return np.asarray(program(*arguments))

    return embed
