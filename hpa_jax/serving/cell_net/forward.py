"""The forward pass of a net that finds cells, as it is exported."""

import dataclasses
from collections.abc import Callable

import jax
from flax.traverse_util import unflatten_dict

from hpa_jax.config import Config
from hpa_jax.training.tasks.cell_masks import OUTPUT, cell_net
from hpa_jax.transforms import normalize
from hpa_jax.transforms.augment import prepare


def cell_forward(config: Config) -> Callable:
    """The function that is exported.

    Args:
      config: of the run.

    Returns:
      `(flat variables, uint8 [B, T, T, 4])`, fields that `segmentation.stretch` has stretched, to
      `{"maps": float32 [B, T, T, 4]}`, 0 to 1, of `segmentation.targets.MAPS`; computed in float32
      whatever the run's dtype.
    """
    exact = dataclasses.replace(config.model, dtype="float32", block="plain")
    model = cell_net(dataclasses.replace(config, model=exact))
    preparation = normalize.preparation(config.data)

    def forward(flat_variables: dict, images: jax.Array) -> dict[str, jax.Array]:
        variables = unflatten_dict(flat_variables, sep="/")
        # Else GPUs and TPUs multiply in fewer bits, and miss the golden output.
        with jax.default_matmul_precision("highest"):
            images = prepare(images, **preparation)
            outputs = model.apply(variables, images, train=False)
            return {OUTPUT: jax.nn.sigmoid(outputs[OUTPUT])}

    return forward
