"""Exports a trained net as a folder that can be served without this project's training code.

model.safetensors    parameters and batch statistics, float32, under flat names
forward.jaxexport    the forward pass (StableHLO): (flat parameters, uint8 [B, H, W, 4]) ->
                     probabilities, embedding and maps, any B, for cpu, cuda and tpu; channel mix,
                     normalisation and sigmoid inside
model.json           labels, channel order, size, normalisation, thresholds, provenance; no path
golden.safetensors   an input, and the outputs that belong to it
model.onnx           the same for other runtimes, parameters inside; config.export.onnx chooses
manifest.json        format of the export, SHA-256 of each of these
"""

import errno
from pathlib import Path

import jax

from hpa_jax.config import Config, to_dict
from hpa_jax.errors import InputError, one_line
from hpa_jax.evaluation.embedding_run import EmbeddingRun
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.synthesizer import Synthesizer
from hpa_jax.files import read_json
from hpa_jax.folders.export_manifest import DESCRIPTION, ONNX, foreign_content
from hpa_jax.folders.replace import refuse_foreign_folder, replace_folder
from hpa_jax.serving.artifact import PLATFORMS
from hpa_jax.serving.cell_net.run import CellRun
from hpa_jax.serving.kinds import CELL_MASKS
from hpa_jax.serving.served import PROBABILITIES
from hpa_jax.serving.worker import write_export

_ADVICE = "move it away or choose another --config.export.folder"


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
    if config.export.temperature and config.fusion.images:
        raise InputError(
            "config.export.temperature=True divides the logits of a head, and these are blended "
            f"with the votes of neighbours (config.fusion.bank={config.fusion.bank}); export with "
            "--config.export.temperature=False"
        )
    folder = (out or workdir) / "export"
    if config.export.folder:
        folder = Path(config.export.folder)
    # Before the minutes of work, and again after them.
    refuse_foreign_folder(folder, foreign_content, _ADVICE)

    # Refuses what cannot be exported, and warns, before the seconds that the process takes.
    if config.train.task == "channels":
        _check_onnx(config)
        Synthesizer(config, workdir)
    elif config.train.task == CELL_MASKS:
        CellRun(config, workdir)
    elif config.train.task == "metric":
        _check_embeddings(config)
        EmbeddingRun(config, workdir)
    else:
        _check_cells(config)
        Predictor(config, workdir, cells=True)
    cache = jax.config.jax_compilation_cache_dir
    try:
        with replace_folder(folder, foreign_content, _ADVICE) as new:
            # There the choice is made once more, right before the checkpoint is read: the run may
            # be training, and have removed it.
            evaluated = [out] if out else []
            step, difference = write_export(new, workdir, to_dict(config), cache, evaluated)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or folder
        raise InputError(f"cannot write {where}: {one_line(error)}; {_ADVICE}") from error

    platforms = ", ".join(PLATFORMS)
    print(f"wrote {folder}: checkpoint {step}, {_what(config)}, for {platforms}")
    print(f"reloaded it and reproduced the golden output (largest difference {difference:.1e})")
    if config.export.onnx != "none":
        advice = "export it again"
        described = read_json(folder / DESCRIPTION, advice=advice)["onnx"]
        print(
            f"{ONNX}: {described['weights']} weights, "
            f"{', '.join(described['outputs'])}; reproduced by onnxruntime (largest difference "
            f"{_difference(described):.1e})"
        )
    print(f"check it anywhere with: python -m hpa_jax.serving {folder}")


def _check_onnx(config: Config) -> None:
    if config.export.onnx == "int8":
        raise InputError(
            "config.export.onnx=int8: weights of 8 bits are for nets that tell labels; choose "
            "float32, fp16 or none"
        )


def _check_cells(config: Config) -> None:
    if config.train.task == "cells" and config.export.onnx == "int8":
        raise InputError(
            "config.export.onnx=int8 is calibrated on images, and this net takes crops of cells; "
            "choose float32 or fp16"
        )


def _check_embeddings(config: Config) -> None:
    """Refuses what only an export of labels has."""
    if config.export.temperature:
        raise InputError(
            "config.export.temperature=True: a temperature is fitted to scores of labels, and the "
            "run has learnt embeddings; leave it out"
        )
    if config.export.onnx == "int8":
        raise InputError(
            "config.export.onnx=int8: 8 bits are checked by the scores of labels, and the run has "
            "learnt embeddings; choose float32, fp16 or none"
        )


def _what(config: Config) -> str:
    """What the net makes of which images."""
    if config.train.task == "channels":
        made = config.channels.targets
        return f"{made} from {config.channels.sources}, {config.data.image_size} px"
    if config.train.task == CELL_MASKS:
        return f"maps of cells and nuclei, tiles of {config.cell_masks.tile} px"
    if config.train.task == "metric":
        size = config.metric.embedding_size
        return f"embeddings of {size} values, {config.data.image_size} px"
    return f"{len(config.label_ids())} labels, {config.data.image_size} px"


def _difference(onnx: dict) -> float:
    """How far model.onnx is off: its probabilities, where it has some."""
    differences = onnx["differences"]
    return differences.get(PROBABILITIES, max(differences.values()))
