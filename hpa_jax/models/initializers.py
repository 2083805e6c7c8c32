"""Initial values of a net, drawn on the host.

Design: compiling `model.init` compiles the whole forward pass, while only shapes are wanted from
it. So the net is traced for its shapes, and NumPy draws each array from the seed and from the
array's own name: the same values on any device, mesh or process.
"""

import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.environment.garbage import without_collection

LAYER_SCALE = 1e-6
"""With which the blocks of a ConvNeXt start (section A.1 of its paper): nearly left out."""


def init_variables(model: nn.Module, image_shape: tuple[int, int, int], seed: int) -> dict:
    """Initial parameters and batch statistics of `model`.

    Kernels are normal with variance 2 / fan_in; biases and running means 0; scales and running
    variances 1; layer scales LAYER_SCALE.

    Args:
      model: takes `[1, *image_shape]` and `train`.
      image_shape: height, width (px) and channels.
      seed: of the draw.

    Returns:
      `{'params': ..., 'batch_stats': ...}`, nested dicts of `numpy float32`. A net without batch
      norm has no statistics; they are then `{}`.

    References:
      He et al., Delving Deep into Rectifiers, 2015, arXiv:1502.01852.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    # Even the key is abstract: making one would compile a program.
    key = jax.eval_shape(lambda: jax.random.key(0))
    init = lambda key, image: model.init(key, image, train=False)  # noqa: E731
    with without_collection():
        shapes = jax.eval_shape(init, key, image)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        names = [entry.key for entry in path]
        return _draw(names, leaf.shape, seed)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return {"batch_stats": {}} | variables


def _draw(names: list[str], shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The array under these names, outermost first."""
    match names[-1]:
        case "kernel":
            # The full name makes each array's stream its own, whatever order they are drawn in.
            full_name = "/".join(names)
            hashed_name = zlib.crc32(full_name.encode())
            rng = np.random.Generator(np.random.Philox([seed, hashed_name]))
            fan_in = np.prod(shape[:-1])
            values = rng.standard_normal(shape, np.float32) * np.sqrt(2 / fan_in)
            return values.astype(np.float32)
        case "bias" | "mean":
            return np.zeros(shape, np.float32)
        case "scale" | "var":
            return np.ones(shape, np.float32)
        case "embeddings" | "targets" | "weight":
            # A bank without images (votes.py).
            return np.zeros(shape, np.float32)
        case "layer_scale":
            return np.full(shape, LAYER_SCALE, np.float32)
        case name:
            raise KeyError(name)


def prior_bias(frequencies: np.ndarray) -> np.ndarray:
    """Log-odds with which each label's score starts at the label's frequency.

    Args:
      frequencies: float `[L]`, fraction of the images that have each label; clipped to 0.1 % and
        99.9 %.

    Returns:
      `float32 [L]`, for the bias of the logits.

    References:
      Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002, section 4.1.
    """
    # A label that no image has would start at minus infinity.
    frequencies = np.clip(frequencies, 1e-3, 1 - 1e-3)
    return np.log(frequencies / (1 - frequencies)).astype(np.float32)


def class_prior_bias(frequencies: np.ndarray) -> np.ndarray:
    """Logits whose softmax is the labels' frequencies, where each image has one label.

    Args:
      frequencies: float `[L]`, fraction of the images that have each label; at least 0.1 % each.

    Returns:
      `float32 [L]`, for the bias of the logits.
    """
    return np.log(np.maximum(frequencies, 1e-3)).astype(np.float32)
