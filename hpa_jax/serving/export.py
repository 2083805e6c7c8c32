"""Exports a trained net as a folder that can be served without this project's training code.

model.safetensors    parameters and batch statistics, float32, under flat names
forward.jaxexport    the forward pass (StableHLO): (flat parameters, uint8 [B, H, W, 4]) ->
                     float32 [B, L], any B, for cpu, cuda and tpu; channel mix, normalisation and
                     sigmoid inside
model.json           labels, channel order, size, normalisation, thresholds, provenance
golden.safetensors   an input, and the output that belongs to it
manifest.json        SHA-256 of each of these
"""

import contextlib
import datetime
import json
import shutil
from collections.abc import Callable
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
from hpa_jax.parallel import memory
from hpa_jax.serving import artifact
from hpa_jax.training.steps import make_score_step
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_mix import mixed_statistics

PLATFORMS = ("cpu", "cuda", "tpu")


def export(config: Config, workdir: Path) -> None:
    """Writes the export of the chosen checkpoint, completely or not at all.

    A run that averaged its weights exports the averaged ones.

    Args:
      config: of the run, as trained; `config.export.folder` names the export's folder.
      workdir: of the run; holds the export (WORKDIR/export) where the folder is not named.

    Raises:
      InputError: an ensemble, or a folder that exists and is no export.
    """
    if config.evaluate.runs:
        raise InputError(
            "config.evaluate.runs: an ensemble is not exported; export each of its runs"
        )
    folder = workdir / "export"
    if config.export.folder:
        folder = Path(config.export.folder)
    if folder.exists() and not (folder / artifact.MANIFEST).is_file():
        raise InputError(f"{folder} exists and is no export; choose another --config.export.folder")

    predictor = Predictor(config, workdir)
    variables = {}
    for name, array in flatten_dict(jax.device_get(predictor.variables), sep="/").items():
        variables[name] = np.asarray(array)
    size = config.data.image_size
    exported = _export_forward(forward_pass(config), variables, size)
    images = _golden_images(size)
    call = memory.compile_within(
        "the golden output",
        jax.jit(exported.call),
        variables,
        images,
        devices=jax.devices()[:1],
        advice=memory.advice(config, "export"),
    )
    probabilities = np.asarray(call(variables, images))

    with _written_beside(folder) as temporary:
        save_file(variables, temporary / artifact.PARAMETERS)
        (temporary / artifact.FORWARD).write_bytes(exported.serialize())
        description = json.dumps(_describe(config, predictor), indent=2, allow_nan=False)
        (temporary / artifact.DESCRIPTION).write_text(description + "\n", encoding="utf-8")
        golden = {"images": images, "probabilities": probabilities}
        save_file(golden, temporary / artifact.GOLDEN)
        artifact.write_manifest(temporary)
        difference = artifact.load(temporary).check_golden()

    num_labels = len(config.label_ids())
    platforms = ", ".join(PLATFORMS)
    print(
        f"wrote {folder}: checkpoint {predictor.step}, {num_labels} labels, {size} px, "
        f"for {platforms}"
    )
    print(f"reloaded it and reproduced the golden output (largest difference {difference:.1e})")
    print(f"check it anywhere with: python -m hpa_jax.serving {folder}")


def forward_pass(config: Config) -> Callable:
    """The function that is exported.

    Returns:
      `(flat variables, uint8 [B, H, W, 4]) -> probabilities float32 [B, L]`, computed in float32
      whatever the run's dtype.
    """
    model = create_model(
        config.model.name,
        head=config.model.head,
        num_labels=len(config.label_ids()),
        tile=config.model.tile,
        dropout=config.model.dropout,
        momentum=config.model.bn_momentum,
        dtype="float32",
    )
    score_step = make_score_step(model, preparation=normalize.preparation(config.data))

    def forward(flat_variables: dict, images: jax.Array) -> jax.Array:
        variables = unflatten_dict(flat_variables, sep="/")
        return jax.nn.sigmoid(score_step(variables, images))

    return forward


def _export_forward(forward: Callable, variables: dict, size: int) -> jax.export.Exported:
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, size, size, len(CHANNELS)), jnp.uint8)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), variables)
    return jax.export.export(jax.jit(forward), platforms=PLATFORMS)(shapes, images)


def _golden_images(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, size, size, len(CHANNELS)), np.uint8)


@contextlib.contextmanager
def _written_beside(folder: Path):
    """A new folder that takes the place of `folder` where the block ends without an error."""
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
            "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "config": to_dict(config),
        },
    }
