"""Writes the files of an export whose net does not tell labels; for `serving.worker`."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save

from hpa_jax.errors import InputError
from hpa_jax.files import write_atomically, write_json
from hpa_jax.folders import export_manifest
from hpa_jax.serving.artifact import load
from hpa_jax.serving.traced import trace_for_any_batch


def write_net(
    folder: Path,
    *,
    forward: Callable[[dict, jax.Array], dict[str, jax.Array]],
    variables: dict[str, np.ndarray],
    images: np.ndarray,
    description: dict,
    onnx: str,
    tolerances: Mapping[str, Mapping[str, float]] | None = None,
) -> float:
    """Writes the files of an export, and runs it once.

    Args:
      folder: to write to.
      forward: flat variables and uint8 `[B, H, W, 4]` to float32 arrays `[B, ...]` by name.
      variables: float32 arrays by flat name.
      images: the golden input, uint8 `[B, H, W, 4]`.
      description: of model.json, `kind` among it; what is said of model.onnx is added.
      onnx: as `config.export.onnx`.
      tolerances: largest differences from the golden output that are no fault, by kind of weights
        and output, as fractions of an output's largest value; None: those of any export.

    Returns:
      The largest difference from the golden output, as a fraction of its largest value.

    Raises:
      InputError: the net does not give numbers.
      OSError: the folder cannot be written.
    """
    exported = trace_for_any_batch(forward, variables, images.shape[1:])
    found = jax.jit(exported.call)(variables, images)
    outputs = {name: np.asarray(array) for name, array in found.items()}
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise InputError(
            f"what the net gives for random images ({', '.join(outputs)}) is not finite, so it is "
            "not exported; choose an earlier --config.evaluate.checkpoint"
        )
    golden = {"images": images, **outputs}
    described = dict(description)
    options = {}
    if tolerances is not None:
        described["tolerances"] = tolerances["float32"]
        options["tolerances"] = tolerances
    if onnx != "none":
        # The package is needed here alone.
        from hpa_jax.serving.onnx.build import build_model

        def with_weights(images: jax.Array) -> dict[str, jax.Array]:
            return forward(variables, images)

        built = build_model(with_weights, images.shape[1:], golden, onnx, **options)
        write_atomically(folder / export_manifest.ONNX, built.content)
        described["onnx"] = built.description
    write_atomically(folder / export_manifest.PARAMETERS, save(variables))
    write_atomically(folder / export_manifest.FORWARD, bytes(exported.serialize()))
    write_atomically(folder / export_manifest.GOLDEN, save(golden))
    write_json(folder / export_manifest.DESCRIPTION, described)
    export_manifest.write_manifest(folder, number=export_manifest.KIND_FORMAT)
    kinds = (described["kind"],)
    difference = load(folder, "jax", kinds=kinds).check_golden()
    if onnx != "none":
        load(folder, "onnx", kinds=kinds).check_golden()
    return difference
