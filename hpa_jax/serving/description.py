"""model.json: what an export says of itself, without a path of the machine that wrote it."""

import datetime
import os
from collections.abc import Mapping
from typing import Any

import jax

import hpa_jax
from hpa_jax.config import Config, Data, listed, to_dict
from hpa_jax.evaluation.embedding_run import EmbeddingRun
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics.temperature import apply_temperature
from hpa_jax.serving.decision import ARGMAX, NONE, THRESHOLDS
from hpa_jax.serving.kinds import CELLS, EMBEDDINGS
from hpa_jax.training.fusion import is_fusion
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_mix import channels_of_mix, mixed_statistics

# Of the configuration, what made the net.
_PROVENANCE = ("data", "model", "augment", "optim", "train", "loss", "channels", "checkpoint")


def describe(
    config: Config,
    predictor: Predictor | EmbeddingRun,
    trained: Config,
    calibration: dict | None = None,
    temperature: float = 1.0,
) -> dict:
    """The contents of model.json.

    Args:
      config: that the net is exported with.
      predictor: of the checkpoint, which has been read; an `EmbeddingRun` has no labels.
      trained: the run's own configuration.
      calibration: how often scores were right (`hpa_jax.serving.reliability`); None: not known.
      temperature: by which the logits were divided, and along with which the thresholds move.
    """
    size = config.data.image_size
    preparation = normalize.preparation(config.data)
    statistics_of = normalize.statistics_source(config.data)
    if preparation["input_statistics"]:
        mean, std = preparation["input_statistics"]
        statistics_of = "config.data.input_mean"
    else:
        mean, std = mixed_statistics(
            preparation["channel_mix"], preparation["mean"], preparation["std"]
        )
    return {
        **_cells(config),
        "vocabulary": config.data.named_vocabulary().name,
        "labels": [] if isinstance(predictor, EmbeddingRun) else _labels(config),
        **_decision(config, predictor, temperature),
        "input": {
            "dtype": "uint8",
            "shape": ["B", size, size, len(CHANNELS)],
            "channels": list(CHANNELS),
        },
        "channel_mix": {
            "name": config.data.channel_mix,
            "matrix": [list(row) for row in preparation["channel_mix"]],
        },
        "normalisation": {
            "formula": "(matrix (x / 255) - mean) / std, inside the forward pass",
            "figures_of": statistics_of,
            "mean": list(mean),
            "std": list(std),
        },
        "preparation": describe_preparation(config.data, predictor.preparations()),
        "temperature": temperature,
        "temperature_fitted_on": predictor.thresholds_split if temperature != 1 else None,
        "calibration": calibration,
        "tta": "none: test-time augmentation is not part of the export",
        "provenance": describe_origin(predictor.step, predictor.written, trained),
    }


def _cells(config: Config) -> dict:
    """How cells were cut out for a net that takes single ones; of others nothing."""
    if config.train.task != "cells":
        return {}
    cut_out = {
        "window": config.cells.window,
        "keep_neighbours": config.cells.keep_neighbours,
    }
    return {"kind": CELLS, "cells": cut_out}


def describe_origin(step: int, written: str | int | None, trained: Config) -> dict:
    """Where a net comes from.

    Args:
      step: of the checkpoint.
      written: tells the checkpoint from another one of that step; None if that cannot be told.
      trained: the run's own configuration.
    """
    return {
        "hpa_jax": hpa_jax.__version__,
        "jax": jax.__version__,
        "checkpoint": step,
        "saved": _as_text(written),
        "config": _provenance(trained),
    }


def _decision(config: Config, predictor: Predictor | EmbeddingRun, temperature: float) -> dict:
    """What the probabilities are, and which labels follow from them."""
    if isinstance(predictor, EmbeddingRun):
        size = config.metric.embedding_size
        return {
            "kind": EMBEDDINGS,
            "activation": "none",
            "decision": NONE,
            "thresholds": [],
            "thresholds_fitted_on": None,
            "output": f"an embedding of {size} values and length 1; near is alike, by the cosine",
            "empty": "no label",
        }
    if predictor.single_label:
        return {
            "activation": "softmax",
            "decision": ARGMAX,
            "thresholds": None,
            "thresholds_fitted_on": None,
            "output": "probability of each label, which sum to 1; the largest is predicted",
            "empty": "no image is without a label",
        }
    thresholds = predictor.thresholds
    if temperature != 1:
        thresholds = apply_temperature(thresholds, temperature)
    empty = "no label"
    if config.evaluate.fill_empty:
        empty = "the label with the largest probability / threshold, where none is above"
    return {
        "activation": "sigmoid",
        "decision": THRESHOLDS,
        "thresholds": thresholds.tolist(),
        "thresholds_fitted_on": predictor.thresholds_split,
        "output": "probability of each label; a label is predicted where it is above its threshold",
        "empty": empty,
    }


def _labels(config: Config) -> list[dict]:
    labels = []
    for label_id, name in zip(config.label_ids(), config.label_names(), strict=True):
        labels.append({"id": label_id, "name": name})
    return labels


def describe_preparation(
    data: Data, made: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """How images were prepared before they came to the net, for whoever has no dataset.

    Of several sources it is that of the one whose channel statistics normalize images; the channels
    are all that any of them had and the channel mix reads.

    Args:
      data: section of the configuration.
      made: how the images of each dataset were made (`hpa_jax.data.preparation`).

    Returns:
      None where nothing is known of that source.
    """
    found = made.get(normalize.statistics_source(data))
    if found is None:
        return None
    channels = None
    if all(preparation["channels"] is not None for preparation in made.values()):
        had = {channel for preparation in made.values() for channel in preparation["channels"]}
        channels = [channel for channel in channels_of_mix(data.channel_mix) if channel in had]
    return {
        "datasets": list(data.source_names()),
        "pixel_size": found["pixel_size"],
        "white": found["white"],
        "edge": found["edge"],
        "rescaled_to": found["rescaled_to"],
        "size": found["size"],
        "aspect": data.aspect,
        "channels": channels,
        "intensities": found["intensities"],
    }


def _as_text(written: str | int | None) -> str | None:
    """What tells checkpoints of a step apart: the digest of its manifest, or when it was saved."""
    if not isinstance(written, int):
        return written
    moment = datetime.datetime.fromtimestamp(written // 10**9, datetime.UTC)
    return moment.isoformat()


def _provenance(config: Config) -> dict:
    """A run's configuration without paths, which say more about a machine than about a net."""
    sections = {}
    names = _PROVENANCE
    if config.train.task == "metric":
        names = (*_PROVENANCE, "metric")
    for name, values in to_dict(config).items():
        if name in names:
            sections[name] = values
    del sections["data"]["data_dir"]
    for section, name in (("model", "pretrained"), ("train", "retrain_head")):
        path = sections[section][name]
        sections[section][name] = os.path.basename(path.rstrip("/"))
    if is_fusion(config):
        names = [os.path.basename(path.rstrip("/")) for path in listed(config.fusion.runs)]
        sections["fusion"] = to_dict(config)["fusion"] | {"runs": ",".join(names)}
    return sections
