"""Hands a trained net over: a folder that can be served without this project's training code.

model.safetensors    parameters and batch statistics, float32, under flat names
forward.jaxexport    the forward pass (StableHLO): (flat parameters, uint8 [B, H, W, 4]) -> float32 [B, L],
                     any B, for cpu, cuda and tpu; channel selection, normalisation and sigmoid inside
model.json           labels, channel order, size, normalisation, thresholds, where it all comes from
golden.safetensors   an input and the output that belongs to it
manifest.json        SHA-256 of each of these
"""

import contextlib
import datetime
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

import hpa_jax
from hpa_jax.config import Config, to_dict
from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.models import create_model
from hpa_jax.serving import artifact
from hpa_jax.training.steps import make_score_step
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_mix import mixed_statistics

PLATFORMS = ("cpu", "cuda", "tpu")


def forward_pass(config: Config):
    """`(flat variables, uint8 [B, H, W, 4]) -> probabilities float32 [B, L]`, in float32 whatever the run's dtype."""
    m = config.model
    labels, numbers = len(config.label_ids()), {"dropout": m.dropout, "momentum": m.bn_momentum}
    model = create_model(
        m.name, head=m.head, num_labels=labels, tile=m.tile, dtype="float32", **numbers
    )
    score_step = make_score_step(model, preparation=normalize.preparation(config.data))

    def forward(flat: dict, images: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(score_step(unflatten_dict(flat, sep="/"), images))

    return forward


def export(config: Config, workdir: Path) -> None:
    """Writes the export of the chosen checkpoint to `config.export.folder` or WORKDIR/export, whole or not at all.

    A run that averaged its weights exports the averaged ones. Several runs are not one export.
    """
    if config.evaluate.runs:
        raise InputError(
            "config.evaluate.runs: an ensemble is not exported; export each of its runs"
        )
    folder = Path(config.export.folder) if config.export.folder else workdir / "export"
    if folder.exists() and not (folder / artifact.MANIFEST).is_file():
        raise InputError(f"{folder} exists and is no export; choose another --config.export.folder")
    predictor = Predictor(config, workdir)
    variables = {
        name: np.asarray(a)
        for name, a in flatten_dict(jax.device_get(predictor.variables), sep="/").items()
    }
    forward, size = jax.jit(forward_pass(config)), config.data.image_size

    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), variables)
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, size, size, len(CHANNELS)), jnp.uint8)
    exported = jax.export.export(forward, platforms=PLATFORMS)(shapes, images)

    golden = np.random.default_rng(0).integers(0, 256, (2, size, size, len(CHANNELS)), np.uint8)
    output = np.asarray(jax.jit(exported.call)(variables, golden))
    description = _describe(config, predictor)

    temporary = folder.with_name(f".{folder.name}.writing")
    with contextlib.ExitStack() as cleanup:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        cleanup.callback(shutil.rmtree, temporary, ignore_errors=True)
        save_file(variables, temporary / artifact.PARAMETERS)
        (temporary / artifact.FORWARD).write_bytes(exported.serialize())
        (temporary / artifact.DESCRIPTION).write_text(
            json.dumps(description, indent=2, allow_nan=False) + "\n"
        )
        save_file({"images": golden, "probabilities": output}, temporary / artifact.GOLDEN)
        artifact.write_manifest(temporary)
        difference = artifact.load(temporary).check_golden()
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    labels = len(config.label_ids())
    print(
        f"wrote {folder}: checkpoint {predictor.step}, {labels} labels, {size} px, for {', '.join(PLATFORMS)}"
    )
    print(f"reloaded it and reproduced the golden output (largest difference {difference:.1e})")
    print(f"check it anywhere with: python -m hpa_jax.serving {folder}")


def _describe(config: Config, predictor: Predictor) -> dict:
    size, preparation, fill = (
        config.data.image_size,
        normalize.preparation(config.data),
        config.evaluate.fill_empty,
    )
    mean, std = preparation["input_statistics"] or mixed_statistics(
        preparation["channel_mix"], preparation["mean"], preparation["std"]
    )
    return {
        "labels": [{"id": i, "name": LABELS[i]} for i in config.label_ids()],
        "thresholds": predictor.thresholds.tolist(),
        "thresholds_fitted_on": predictor.thresholds_split,
        "input": {
            "dtype": "uint8",
            "shape": ["B", size, size, len(CHANNELS)],
            "channels": list(CHANNELS),
        },
        "mix": {
            "name": config.data.channel_mix,
            "matrix": [list(row) for row in preparation["channel_mix"]],
        },
        "normalisation": {
            "formula": "(matrix (x / 255) - mean) / std, inside the forward pass",
            "figures_of": "config.data.shown_mean"
            if preparation["input_statistics"]
            else normalize.statistics_source(config.data),
            "mean": list(mean),
            "std": list(std),
        },
        "output": "probability of each label; a label is predicted where it is above its threshold",
        "empty": "the label with the largest probability / threshold, where none is above"
        if fill
        else "no label",
        "views": "one, the whole field; test-time augmentation is no part of the export",
        "provenance": {
            "hpa_jax": hpa_jax.__version__,
            "jax": jax.__version__,
            "checkpoint": predictor.step,
            "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "config": to_dict(config),
        },
    }
