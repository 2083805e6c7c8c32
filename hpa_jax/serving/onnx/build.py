"""model.onnx of a run: converted, its weights as asked for, checked against the golden output."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.forward import forward_pass
from hpa_jax.serving.onnx import weights
from hpa_jax.serving.onnx.convert import convert
from hpa_jax.serving.onnx.session import open_session
from hpa_jax.serving.onnx.write import OPERATIONS, as_bytes
from hpa_jax.serving.served import PROBABILITIES, largest_difference

NONE = "none"
"""The value of `config.export.onnx` that writes no model."""


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
    model = convert(lambda images: forward(variables, images), (size, size, len(CHANNELS)))
    kind = config.export.onnx
    if kind == "fp16":
        model = weights.with_half_weights(model)
    if kind == "int8":
        model = weights.with_8_bit_weights(model, calibration())
    content = as_bytes(model)
    run, outputs = open_session(content, "the model")
    found = run(golden["images"], outputs)
    differences = {}
    tolerances = {}
    for name in outputs:
        difference = largest_difference(name, found[name], golden[name])
        tolerance = weights.TOLERANCES[kind][0 if name == PROBABILITIES else 1]
        if not difference <= tolerance:
            raise InputError(
                f"model.onnx is not the net: its {name} differ from JAX's by {difference:.1e} on "
                f"the golden input, more than {tolerance}; nothing was written; export without it: "
                "--config.export.onnx=none"
            )
        differences[name] = difference
        tolerances[name] = tolerance
    description = {
        "weights": kind,
        "operations": OPERATIONS,
        "outputs": list(outputs),
        "differences": differences,
        "tolerances": tolerances,
    }
    return BuiltModel(content, description)
