"""A forward pass as StableHLO, for any number of images."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.serving.artifact import PLATFORMS


def trace_for_any_batch(
    forward: Callable[[dict, jax.Array], dict[str, jax.Array]],
    variables: dict[str, np.ndarray],
    image_shape: tuple[int, ...],
) -> jax.export.Exported:
    """Traces a forward pass for any number of images, for PLATFORMS.

    Args:
      forward: flat variables and uint8 `[B, H, W, C]` to arrays by name.
      variables: float32 arrays by flat name, for their shapes.
      image_shape: (H, W, C).
    """
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), variables)
    return jax.export.export(jax.jit(forward), platforms=PLATFORMS)(shapes, images)
