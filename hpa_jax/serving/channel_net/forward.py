"""The forward pass of a net that fills in channels, as it is exported."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from hpa_jax.config import Config
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.artifact import PLATFORMS
from hpa_jax.training.tasks.channel_steps import OUTPUT, make_fill_step
from hpa_jax.training.tasks.channels import channel_forms, make_net


def channel_forward(config: Config) -> Callable:
    """The function that is exported.

    Args:
      config: of the run.

    Returns:
      `(flat variables, uint8 [B, S, S, 4])` to `{"channels": float32 [B, S, S, T]}`, all targets, 0
      to 1; computed in float32 whatever the run's dtype. A channel that is black throughout an
      image is not shown to the net: whoever calls it blackens what is to be filled in.
    """
    fill_step = make_fill_step(make_net(config, dtype="float32"), channel_forms(config))

    def forward(flat_variables: dict, images: jax.Array) -> dict[str, jax.Array]:
        variables = unflatten_dict(flat_variables, sep="/")
        # Else GPUs and TPUs multiply in fewer bits, and miss the golden output.
        with jax.default_matmul_precision("highest"):
            return {OUTPUT: fill_step(variables, images)}

    return forward


def export_channel_forward(config: Config, variables: dict[str, np.ndarray]) -> jax.export.Exported:
    """Traces the forward pass for any number of images, for PLATFORMS.

    Args:
      config: of the run.
      variables: float32 arrays by flat name, for their shapes.
    """
    side = config.data.image_size
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, side, side, len(CHANNELS)), jnp.uint8)
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), variables)
    forward = jax.jit(channel_forward(config))
    return jax.export.export(forward, platforms=PLATFORMS)(shapes, images)
