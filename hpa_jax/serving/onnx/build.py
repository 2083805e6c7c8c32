"""model.onnx of a run: converted, its weights as asked for, checked against the golden output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from onnx import ModelProto

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.forward import forward_pass
from hpa_jax.serving.onnx import weights
from hpa_jax.serving.onnx.convert import convert
from hpa_jax.serving.onnx.session import open_session
from hpa_jax.serving.onnx.write import OPERATIONS, as_bytes
from hpa_jax.serving.served import PROBABILITIES, largest_difference

_OTHERS = ("embedding", "attention", "maps", "channels")

TOLERANCES = {
    "float32": dict.fromkeys(_OTHERS, 1e-4) | {"probabilities": 1e-5},
    "fp16": dict.fromkeys(_OTHERS, 1e-2) | {"probabilities": 5e-3},
}
"""Largest differences from the golden output that are no fault (`largest_difference`)."""

INT8_ON_IMAGES = 0.15
"""Largest difference of a probability that 8 bits may make on the images of their calibration."""

INT8_MARGIN = 0.05
"""By how much more 8 bits may miss the golden output elsewhere than here: the golden images are
noise, which the ranges of 8 bits are not made for, and processors round sums of 8 bits unlike."""

_ADVICE = "nothing was written; export without it: --config.export.onnx=none"


@dataclass(frozen=True)
class BuiltModel:
    """A model that was checked.

    Attributes:
      content: the bytes of model.onnx.
      description: for model.json: `weights`, `operations` (the version of ONNX's), `outputs`,
        `differences` from the golden output and their `tolerances`, by output.
    """

    content: bytes
    description: dict


def build(
    config: Config,
    variables: dict[str, np.ndarray],
    golden: dict[str, np.ndarray],
    calibration: Callable[[], np.ndarray],
) -> BuiltModel:
    """Makes the model of a run and checks it.

    Args:
      config: of the run; `config.export.onnx` has the kind of weights.
      variables: float32 arrays by flat name.
      golden: `images` and the outputs of JAX by name.
      calibration: returns real images, uint8 `[N, H, W, 4]`, for 8-bit weights.

    Returns:
      The model and what is to be said of it.

    Raises:
      InputError: the net cannot be converted, or the model computes something else.
    """
    if config.model.tile:
        raise InputError(
            f"config.model.tile={config.model.tile}: a net that sees an image tile by tile "
            "cannot be written as ONNX; export without it: --config.export.onnx=none"
        )
    forward = forward_pass(config, closed_form=True)
    size = config.data.image_size
    shape = (size, size, len(CHANNELS))
    kind = config.export.onnx
    return build_model(lambda images: forward(variables, images), shape, golden, kind, calibration)


def build_model(
    function: Callable[[jax.Array], dict[str, jax.Array]],
    shape: tuple[int, int, int],
    golden: dict[str, np.ndarray],
    kind: str,
    calibration: Callable[[], np.ndarray] | None = None,
    tolerances: Mapping[str, dict[str, float]] = TOLERANCES,
) -> BuiltModel:
    """Makes the model of a function of images, with its parameters, and checks it.

    Args:
      function, shape: as of `convert`.
      golden, calibration: as of `build`.
      kind: of the weights: float32, fp16, or int8, for which `calibration` is needed.
      tolerances: of each output, by kind; those of int8 are measured.

    Returns:
      The model and what is to be said of it.

    Raises:
      InputError: the function cannot be converted, or the model computes something else.
    """
    model = convert(function, shape)
    # The conversion is exact, whatever the weights are made to be afterwards.
    found = _checked(model, golden, tolerances["float32"])
    if kind == "fp16":
        model = weights.with_half_weights(model)
        found = _checked(model, golden, tolerances["fp16"])
    if kind == "int8":
        images = calibration()
        exact = model
        model = weights.with_8_bit_weights(exact, images)
        on_images = _difference_on_images(model, exact, images)
        found = _Found(_differences(model, golden), {})
        for name, difference in found.differences.items():
            found.tolerances[name] = difference + INT8_MARGIN
    description = {
        "weights": kind,
        "operations": OPERATIONS,
        "outputs": list(found.differences),
        "differences": found.differences,
        "tolerances": found.tolerances,
    }
    if kind == "int8":
        description["calibration_images"] = len(images)
        description["difference_on_calibration_images"] = on_images
    return BuiltModel(as_bytes(model), description)


class _Found(NamedTuple):
    """How far each output is off, and how far it may be."""

    differences: dict[str, float]
    tolerances: dict[str, float]


def _checked(model: ModelProto, golden: dict, tolerances: dict[str, float]) -> _Found:
    differences = _differences(model, golden)
    for name, difference in differences.items():
        # Written so that a NaN is refused as well.
        if not difference <= tolerances[name]:
            raise InputError(
                f"model.onnx is not the net: its {name} differ from JAX's by {difference:.1e} on "
                f"the golden input, more than {tolerances[name]}; {_ADVICE}"
            )
    return _Found(differences, {name: tolerances[name] for name in differences})


def _differences(model: ModelProto, golden: dict) -> dict[str, float]:
    run, outputs = open_session(as_bytes(model), "model.onnx")
    found = run(golden["images"], outputs)
    differences = {}
    for name in outputs:
        differences[name] = largest_difference(name, found[name], golden[name])
    return differences


def _difference_on_images(model: ModelProto, exact: ModelProto, images: np.ndarray) -> float:
    run, _ = open_session(as_bytes(model), "model.onnx")
    run_exact, _ = open_session(as_bytes(exact), "model.onnx")
    largest = 0.0
    # One by one: 64 large images at once would need gigabytes.
    for image in images:
        found = run(image[np.newaxis], (PROBABILITIES,))[PROBABILITIES]
        expected = run_exact(image[np.newaxis], (PROBABILITIES,))[PROBABILITIES]
        largest = max(largest, largest_difference(PROBABILITIES, found, expected))
    if not largest <= INT8_ON_IMAGES:
        raise InputError(
            f"8-bit weights change a probability by {largest:.2f} on images of the run's dataset, "
            f"more than {INT8_ON_IMAGES}; nothing was written; use --config.export.onnx=fp16"
        )
    return largest
