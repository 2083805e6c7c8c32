"""model.json: what an export says of itself, without a path of the machine that wrote it."""

import datetime
import os

import jax

import hpa_jax
from hpa_jax.config import Config, to_dict
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_mix import mixed_statistics

# Of the configuration, what made the net.
_PROVENANCE = ("data", "model", "augment", "optim", "train", "loss", "checkpoint")


def describe(
    config: Config, predictor: Predictor, trained: Config, calibration: dict | None = None
) -> dict:
    """The contents of model.json.

    Args:
      config: that the net is exported with.
      predictor: of the checkpoint, which has been read.
      trained: the run's own configuration.
      calibration: how often scores were right (`hpa_jax.serving.reliability`); None: not known.
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
    empty = "no label"
    if config.evaluate.fill_empty:
        empty = "the label with the largest probability / threshold, where none is above"
    return {
        "labels": [{"id": i, "name": LABELS[i]} for i in config.label_ids()],
        "thresholds": predictor.thresholds.tolist(),
        "thresholds_fitted_on": predictor.thresholds_split,
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
        "output": "probability of each label; a label is predicted where it is above its threshold",
        "empty": empty,
        "calibration": calibration,
        "tta": "none: test-time augmentation is not part of the export",
        "provenance": {
            "hpa_jax": hpa_jax.__version__,
            "jax": jax.__version__,
            "checkpoint": predictor.step,
            "saved": _as_text(predictor.written),
            "config": _provenance(trained),
        },
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
    for name, values in to_dict(config).items():
        if name in _PROVENANCE:
            sections[name] = values
    del sections["data"]["data_dir"]
    pretrained = sections["model"]["pretrained"]
    sections["model"]["pretrained"] = os.path.basename(pretrained.rstrip("/"))
    return sections
