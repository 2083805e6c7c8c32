"""Runs a model with onnxruntime: needs NumPy and onnxruntime, and no JAX."""

from collections.abc import Callable, Sequence

from hpa_jax.errors import InputError, one_line
from hpa_jax.serving.onnx.screen import check_self_contained

PACKAGES = ("numpy", "onnxruntime", "safetensors")
"""What running a model needs besides this package."""

_ERRORS_ONLY = 3
_LONGEST_REASON = 160


def open_session(model: bytes, name: str, threads: int = 0) -> tuple[Callable, tuple[str, ...]]:
    """A function that runs a model.

    Args:
      model: the bytes of an ONNX file.
      name: of the file, for messages.
      threads: that compute one operation together; 0: one a core.

    Returns:
      A function of images `uint8 [B, H, W, 4]` and names of outputs to a dict of arrays; and the
      names of all outputs. It may be called by several threads at once.

    Raises:
      InputError: the model is not complete in itself, or the runtime does not take it.
    """
    check_self_contained(model, name)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait by looping take CPU time from whoever decodes the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = tuple(output.name for output in session.get_outputs())
    except Exception as error:  # a type of error for each status of the runtime
        raise InputError(
            f"{name} cannot be loaded by onnxruntime {onnxruntime.__version__} "
            f"({one_line(error, limit=_LONGEST_REASON)}); export it again"
        ) from error

    def run(images, outputs: Sequence[str]) -> dict:
        try:
            found = session.run(list(outputs), {"images": images})
        except Exception as error:  # as above
            reason = one_line(error, limit=_LONGEST_REASON)
            raise InputError(
                f"{name}: onnxruntime cannot run it on {len(images)} images: {reason}"
            ) from error
        return dict(zip(outputs, found, strict=True))

    return run, names
