"""From images to features: a run's net, an export's, the same net before any training.

The embedding is the mean of the backbone's last feature map over its positions, or what a run of
the task `metric` has learnt, computed as an export computes it (`hpa_jax.serving.forward`): in
float32, whatever the run's dtype.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from hpa_jax.config import Config, from_dict
from hpa_jax.errors import InputError
from hpa_jax.evaluation.embedding_run import EmbeddingRun
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.parallel import memory
from hpa_jax.parallel.mesh import batch_sharding, put_batch, put_replicated
from hpa_jax.probe.examples import EMBEDDING, HISTOGRAM, UNTRAINED
from hpa_jax.probe.histogram import intensity_histograms
from hpa_jax.serving import Served
from hpa_jax.serving.forward import forward_pass
from hpa_jax.training import parts
from hpa_jax.training.tasks import make_task

Embed = Callable[[np.ndarray], np.ndarray]


class Embedder(NamedTuple):
    """What makes features of images.

    Attributes:
      name: of the features.
      embed: uint8 `[B, H, W, 4]` to float32 `[B, F]`, for one B throughout.
    """

    name: str
    embed: Embed


def open_run(config: Config, workdir: Path) -> Predictor | EmbeddingRun:
    """The checkpoint of a run, by what it has learnt.

    Raises:
      InputError: there is no such checkpoint, or the run has learnt neither labels nor embeddings.
    """
    if config.train.task == "metric":
        return EmbeddingRun(config, workdir)
    return Predictor(config, workdir)


def of_run(run: Predictor | EmbeddingRun, seed: int) -> Sequence[Embedder]:
    """A run's net, and beside it the baselines.

    Args:
      run: of the checkpoint.
      seed: of the untrained net.
    """
    config = run.config
    embed = _embed_with(config, run.variables, run.mesh)
    return Embedder(EMBEDDING, embed), *_baselines(config, run.mesh, seed)


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
    return untrained(config, mesh, seed), Embedder(HISTOGRAM, intensity_histograms)


def untrained(config: Config, mesh: Mesh, seed: int) -> Embedder:
    """The configured net before any training.

    Args:
      config: resolved, as a run's config.json has it.
      mesh: of the devices.
      seed: of its weights.
    """
    seeded = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    variables = make_task(seeded, mesh).initial_variables()
    return Embedder(UNTRAINED, _embed_with(config, put_replicated(variables, mesh), mesh))


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
