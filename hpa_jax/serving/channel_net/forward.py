"""The forward pass of a net that fills in channels, as it is exported."""

from collections.abc import Callable

import jax
from flax.traverse_util import unflatten_dict

from hpa_jax.config import Config
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
