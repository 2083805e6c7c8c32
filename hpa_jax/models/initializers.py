"""Starting values of a net, drawn on the host.

Unusual: compiling `model.init` compiles the whole forward pass, and all that is wanted from it are shapes. So the net
is traced for shapes alone, and each array is drawn by NumPy from the seed and its own name: the same on any device,
mesh or process.
"""

import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def init_variables(model: nn.Module, image_shape: tuple[int, int, int], seed: int) -> dict:
    """Parameters and batch statistics of `model`.

    Kernels are normal with variance 2 / fan_in (He et al. 2015, arXiv:1502.01852); biases and running means 0; scales
    and running variances 1.

    Args:
      model: takes `[1, *image_shape]` and `train`.
      image_shape: height, width, channels.
      seed: of the draw.

    Returns:
      `{'params': ..., 'batch_stats': ...}`, nested dicts of `numpy float32`; a net without batch norm has no
      statistics, and `{}` there.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(lambda key, image: model.init(key, image, train=False), key, image)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: _draw(path, leaf.shape, seed), shapes
    )
    return {"batch_stats": {}} | variables


def _draw(path: tuple, shape: tuple[int, ...], seed: int) -> np.ndarray:
    name = path[-1].key
    if name == "kernel":
        full_name = "/".join(entry.key for entry in path)
        rng = np.random.Generator(np.random.Philox([seed, zlib.crc32(full_name.encode())]))
        deviation = np.sqrt(2 / np.prod(shape[:-1]))
        return (rng.standard_normal(shape, np.float32) * deviation).astype(np.float32)
    return {"bias": np.zeros, "mean": np.zeros, "scale": np.ones, "var": np.ones}[name](
        shape, np.float32
    )


def prior_bias(shares: np.ndarray) -> np.ndarray:
    """Log-odds with which a net's scores start at each label's share (Lin et al. 2017, arXiv:1708.02002, section 4.1).

    Args:
      shares: float `[L]`, of the fields that bear each label; taken as 0.1 % to 99.9 %.

    Returns:
      `float32 [L]`, for the bias of the logits.
    """
    shares = np.clip(shares, 1e-3, 1 - 1e-3)
    return np.log(shares / (1 - shares)).astype(np.float32)
