"""What would make a configuration fit that does not: only what is true of it, each as a flag to try."""

import math

from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.models import split_multiple
from hpa_jax.models.classifier import BACKBONES


def advice(
    config: Config,
    mesh: Mesh,
    *,
    state_bytes: int,
    wanted: int,
    available: int,
    fitting: int,
    largest: list[dict],
) -> list[str]:
    """Ways out, the one that changes least first.

    Args:
      config: resolved; of a step that does not fit.
      mesh: that it was compiled for.
      state_bytes: of the training state, on each device.
      wanted, available: bytes of a device's memory.
      fitting: a batch that was compiled and fits; 0: none was found.
      largest: what fills the memory (memory.largest_arrays); []: not known.
    """
    m, groups, batch, height = (
        config.model,
        mesh.shape["data"],
        config.data.batch_size,
        config.data.image_size,
    )
    # Arrays that are not the net's name the function that made them; copies of the net's own may name none.
    outside = sum(a["bytes"] for a in largest if a["op_name"] and "Classifier" not in a["op_name"])
    in_the_net = outside <= sum(a["bytes"] for a in largest) / 2
    found = []
    if m.dtype == "float32" and in_the_net:
        found.append("--config.model.dtype=bfloat16 halves what the maps take")
    if hasattr(BACKBONES[m.name](), "block") and m.block != "fused" and in_the_net:
        for block in ("remat", "fused") if m.block == "plain" else ("fused",):
            found.append(
                f"--config.model.block={block} keeps less of the maps for the backward pass"
            )
    if fitting:
        steps = batch / fitting * config.optim.accumulate
        gather = f" --config.optim.accumulate={round(steps)}" if steps == int(steps) else ""
        same = ", as many fields an update" if gather else ""
        found.append(f"--config.data.batch_size={fitting}{gather} fits{same} (compiled)")
    multiple, now = split_multiple(m.name), mesh.shape["space"]
    ways = [
        n
        for n in range(now + 1, mesh.size + 1)
        if mesh.size % n == 0 and multiple and height % (n * multiple) == 0
    ]
    if ways and batch == groups:  # a field a group already: only a part of a field is less
        space = min((n for n in ways if n >= now * wanted / available), default=max(ways))
        smaller = f"--config.data.batch_size={mesh.size // space}"
        found.append(
            f"--config.devices.space={space} {smaller} cuts each field over {space} devices"
        )
    if not in_the_net and (
        config.augment.rotate_degrees or tuple(config.augment.scale) != (1.0, 1.0)
    ):
        found.append(
            "--config.augment.scale='(1.0,1.0)' --config.augment.rotate_degrees=0 makes no resampled copies"
        )
    if m.head == "hpa_densenet" and state_bytes > available / 10:
        found.append("--config.model.head=pooled has no weight for each place of the map")
    if config.train.ema and state_bytes > available / 10:
        found.append("--config.train.ema=0 keeps no second set of weights")
    if not fitting:
        near = 2 ** math.ceil(math.log2(height) - 1)
        found.append(
            f"--config.data.image_size={near}: the maps shrink with the square of the side"
        )
    return found
