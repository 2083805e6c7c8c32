"""Runs forward.jaxexport with JAX."""

from collections.abc import Callable, Sequence
from functools import cache

from hpa_jax.errors import InputError, one_line
from hpa_jax.serving.served import PROBABILITIES, in_order

PACKAGES = ("numpy", "safetensors", "flatbuffers", "jax")
"""What running the forward pass needs besides this package."""

_LONGEST_REASON = 160


def open_forward(
    forward: bytes, parameters: bytes, folder: object
) -> tuple[Callable, tuple[str, ...]]:
    """A function that runs an exported forward pass.

    Args:
      forward: the bytes of forward.jaxexport.
      parameters: the bytes of model.safetensors.
      folder: of the export, for messages.

    Returns:
      A function of images `uint8 [B, H, W, 4]` and names of outputs to a dict of arrays, which
      compiles for each number of images and choice of outputs; and the names of all outputs.

    Raises:
      InputError: the installed JAX cannot read it.
    """
    import jax
    import numpy as np
    from jax import export
    from safetensors.numpy import load

    try:
        arrays = load(parameters)
        exported = export.deserialize(bytearray(forward))
        names = _output_names(exported)
    except Exception as error:  # JAX, flatbuffers and safetensors have a type of error each
        raise InputError(
            f"{folder} cannot be loaded by jax {jax.__version__} "
            f"({one_line(error, limit=_LONGEST_REASON)}); install the version that model.json "
            "names, or export it again"
        ) from error

    @cache
    def jitted(outputs: tuple[str, ...]) -> Callable:
        """The forward pass to these outputs: XLA leaves out what only others need."""

        def chosen(arrays, images):
            found = exported.call(arrays, images)
            if not isinstance(found, dict):
                found = {PROBABILITIES: found}
            return {name: found[name] for name in outputs}

        return jax.jit(chosen)

    def run(images, outputs: Sequence[str]) -> dict:
        found = jitted(tuple(outputs))(arrays, images)
        return {name: np.asarray(array) for name, array in found.items()}

    return run, names


def _output_names(exported) -> tuple[str, ...]:
    """Of format 2 and before the one output is no dict: the probabilities."""
    import jax

    numbers = range(exported.out_tree.num_leaves)
    outputs = jax.tree.unflatten(exported.out_tree, numbers)
    if not isinstance(outputs, dict):
        return (PROBABILITIES,)
    return in_order(outputs)
