"""Exports a trained net as a folder that can be served without this project's training code.

model.safetensors    parameters and batch statistics, float32, under flat names
forward.jaxexport    the forward pass (StableHLO): (flat parameters, uint8 [B, H, W, 4]) ->
                     float32 [B, L], any B, for cpu, cuda and tpu; channel mix, normalisation and
                     sigmoid inside
model.json           labels, channel order, size, normalisation, thresholds, provenance; no path
golden.safetensors   an input, and the output that belongs to it
manifest.json        format of the export, SHA-256 of each of these
"""

import datetime
import errno
import os
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save

import hpa_jax
from hpa_jax.config import Config, to_dict
from hpa_jax.errors import InputError, one_line
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.files import write_atomically
from hpa_jax.folders.replace import refuse_foreign_folder, replace_folder
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.serving import artifact
from hpa_jax.serving.forward import PLATFORMS
from hpa_jax.serving.worker import write_export
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_mix import mixed_statistics

_ADVICE = "move it away or choose another --config.export.folder"

# Of the configuration, what made the net.
_PROVENANCE = ("data", "model", "augment", "optim", "train", "loss", "checkpoint")


def export(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Writes the export of the chosen checkpoint, completely or not at all.

    A run that averaged its weights exports the averaged ones. One checkpoint gives the same bytes
    on a machine, whatever its environment.

    Args:
      config: of the run, as trained; `config.export.folder` names the export's folder.
      workdir: of the run.
      out: holds the export (OUT/export) where the folder is not named; None: `workdir`.

    Raises:
      InputError: an ensemble; or a folder that exists and is no export, holds something else too,
        or cannot be written.
      RunStopped: the process that writes it was killed.
    """
    if config.evaluate.runs:
        raise InputError(
            "config.evaluate.runs: an ensemble is not exported; export each of its runs"
        )
    folder = (out or workdir) / "export"
    if config.export.folder:
        folder = Path(config.export.folder)
    # Before the minutes of work, and again after them.
    refuse_foreign_folder(folder, artifact.foreign_content, _ADVICE)

    predictor = Predictor(config, workdir)
    variables = {}
    for name, array in flatten_dict(jax.device_get(predictor.variables), sep="/").items():
        variables[name] = np.asarray(array)
    try:
        with replace_folder(folder, artifact.foreign_content, _ADVICE) as new:
            write_atomically(new / artifact.PARAMETERS, save(variables))
            description = _describe(config, predictor)
            cache = jax.config.jax_compilation_cache_dir
            difference = write_export(new, to_dict(config), description, cache)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or folder
        raise InputError(f"cannot write {where}: {one_line(error)}; {_ADVICE}") from error

    num_labels = len(config.label_ids())
    platforms = ", ".join(PLATFORMS)
    print(
        f"wrote {folder}: checkpoint {predictor.step}, {num_labels} labels, "
        f"{config.data.image_size} px, for {platforms}"
    )
    print(f"reloaded it and reproduced the golden output (largest difference {difference:.1e})")
    print(f"check it anywhere with: python -m hpa_jax.serving {folder}")


def _describe(config: Config, predictor: Predictor) -> dict:
    """The contents of model.json."""
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
        "tta": "none: test-time augmentation is not part of the export",
        "provenance": {
            "hpa_jax": hpa_jax.__version__,
            "jax": jax.__version__,
            "checkpoint": predictor.step,
            "saved": _as_text(predictor.written),
            "config": _provenance(config),
        },
    }


def _as_text(nanoseconds: int | None) -> str | None:
    if nanoseconds is None:
        return None
    moment = datetime.datetime.fromtimestamp(nanoseconds // 10**9, datetime.UTC)
    return moment.isoformat()


def _provenance(config: Config) -> dict:
    """The configuration without paths, which say more about a machine than about a net."""
    sections = {}
    for name, values in to_dict(config).items():
        if name in _PROVENANCE:
            sections[name] = values
    del sections["data"]["data_dir"]
    pretrained = sections["model"]["pretrained"]
    sections["model"]["pretrained"] = os.path.basename(pretrained.rstrip("/"))
    return sections
