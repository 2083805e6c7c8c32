"""A net's parameters in half as many bytes: stored as float16, computed with as float32.

The page is smaller, and its scores differ by less than 0.002. Whoever runs the net widens the
parameters once, when it is loaded.
"""

from hpa_jax.errors import InputError

WEIGHTS = ("float32", "fp16")


def halve(model: bytes) -> bytes:
    """The net with its kernels stored as float16.

    Args:
      model: a model.onnx.

    Returns:
      another one, with the same inputs and outputs.

    Raises:
      InputError: the package onnx is missing.
    """
    try:
        import onnx

        from hpa_jax.serving.onnx.weights import with_half_weights
    except ImportError:
        raise InputError(
            "--weights=fp16 needs the package onnx: pip install onnx, or leave --weights out"
        ) from None
    net = onnx.load_model_from_string(model)
    return with_half_weights(net).SerializeToString(deterministic=True)
