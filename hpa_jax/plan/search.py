"""What fits: the largest batch per device, and advice for a configuration that is too large."""

import dataclasses
import math

from jax.sharding import Mesh

from hpa_jax.config import Config, to_dict
from hpa_jax.models import split_multiple
from hpa_jax.models.classifier import BACKBONES
from hpa_jax.plan.compiler import CompilerFailed, NotPossible, run_worker

LARGEST = 2**14
"""Most images per group of devices that are tried."""

_KEPT_OF_A_TRIAL = (
    "batch_size",
    "batch_per_chip",
    "fits",
    "over_gb",
    "peak_hbm_gb",
    "hbm_gb_per_image",
    "compile_s",
)


def largest_batch(config: Config, row: dict, compilers: list[str] | None) -> dict:
    """The largest batch, a power of two per group of devices, whose training step fits.

    Starts where the memory of the first program points to, and goes up or down by factors of two
    until one fits and the next does not. The training step alone is tried, as it needs more.

    Args:
      config: resolved.
      row: of this configuration and topology, as `estimate.estimate` returns it.
      compilers: as `compiler.find_compilers` returns it.

    Returns:
      Further keys for the row: `largest_batch_per_chip`, `largest_batch_size`, and each trial in
      `search`.
    """
    name = row["topology"]
    groups = row["devices"] // row["space"]
    known = {row["batch_size"] / groups: row["fits"]}
    trials = []

    def fits(exponent: int) -> bool:
        images = 2**exponent
        if images in known:
            return known[images]
        request = {
            "config": _with_batch(config, images * groups, row["space"]),
            "topology": name,
            "steps": ["training"],
            "search": True,
        }
        found = run_worker(request, f"{name}: {images} images", compilers)
        known[images] = found["fits"]
        trials.append({key: found.get(key) for key in _KEPT_OF_A_TRIAL})
        verdict = "fit" if found["fits"] else "do not fit"
        print(f"{name}: {images} images {verdict}", flush=True)
        return known[images]

    exponent = _first_guess(row, groups)
    per_group = "a device" if row["space"] == 1 else "a group of devices"
    seconds = row["compile_s"]
    print(
        f"{name}: looking for the largest batch; about 3 trials of {seconds:.0f} s "
        f"({3 * seconds / 60:.1f} minutes), the first with {2**exponent} images {per_group}",
        flush=True,
    )
    try:
        while exponent >= 0 and not fits(exponent):
            exponent -= 1
        while 0 <= exponent < math.log2(LARGEST) and fits(exponent + 1):
            exponent += 1
    except (NotPossible, CompilerFailed) as error:
        notes = [*row.get("notes", []), f"the search ended early: {error}"]
        return {"search": trials, "notes": notes}
    best = 2**exponent if exponent >= 0 else 0
    return {
        "search": trials,
        "largest_batch_size": best * groups,
        "largest_batch_per_chip": best / row["space"],
    }


def _with_batch(config: Config, batch_size: int, space: int) -> dict:
    tried = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, batch_size=batch_size),
        devices=dataclasses.replace(config.devices, space=space),
    )
    return to_dict(tried)


def _first_guess(row: dict, groups: int) -> int:
    """Exponent of the power of two that should just fit: memory in proportion to the batch."""
    fixed_gb = row.get("arguments_gb", 0.0)
    images_per_group = row["batch_size"] / groups
    gb_per_image = max(row["peak_hbm_gb"] - fixed_gb, 1e-9) / images_per_group
    images = max(1.0, (row["hbm_available_gb"] - fixed_gb) / gb_per_image)
    return min(math.floor(math.log2(images)), int(math.log2(LARGEST)))


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
    """What would make a configuration fit that does not: flags to try, the smallest change first.

    Args:
      config: resolved; of a step that does not fit.
      mesh: that it was compiled for.
      state_bytes: of the training state, on each device.
      wanted, available: bytes of a device's memory.
      fitting: a batch size that was compiled and fits; 0: none was found.
      largest: what fills the memory (memory.largest_arrays); []: not known.
    """
    in_the_net = _is_filled_by_the_net(largest)
    state_is_large = state_bytes > available / 10
    ways = []
    if in_the_net:
        ways += _smaller_feature_maps(config)
    if fitting:
        ways.append(_smaller_batch(config, fitting))
    ways += _shared_images(config, mesh, wanted / available)
    is_resampled = config.augment.rotate_degrees or tuple(config.augment.scale) != (1.0, 1.0)
    if not in_the_net and is_resampled:
        ways.append(
            "--config.augment.scale='(1.0,1.0)' --config.augment.rotate_degrees=0 makes no "
            "resampled copies"
        )
    if config.model.head == "hpa_densenet" and state_is_large:
        ways.append("--config.model.head=pooled has no weight for each place of the feature map")
    if config.train.ema and state_is_large:
        ways.append("--config.train.ema=0 keeps no second set of weights")
    if not fitting:
        smaller = 2 ** math.ceil(math.log2(config.data.image_size) - 1)
        ways.append(
            f"--config.data.image_size={smaller}: feature maps shrink with the square of the side"
        )
    return ways


_NETS = ("Classifier", "FusionNet", "MetricNet")
"""Of `hpa_jax.models`, as they are in the names of operations."""


def _is_filled_by_the_net(largest: list[dict]) -> bool:
    """Whether half of the bytes or more are the net's own arrays.

    Other arrays name the function that made them; copies of the net's own may name none.
    """
    total = 0
    outside = 0
    for array in largest:
        total += array["bytes"]
        if array["op_name"] and not any(net in array["op_name"] for net in _NETS):
            outside += array["bytes"]
    return outside <= total / 2


def _smaller_feature_maps(config: Config) -> list[str]:
    model = config.model
    ways = []
    if model.dtype == "float32":
        ways.append("--config.model.dtype=bfloat16 halves the feature maps")
    leaner_blocks = {"plain": ("remat", "fused"), "remat": ("fused",), "fused": ()}
    if model.name in BACKBONES and hasattr(BACKBONES[model.name](), "block"):
        for block in leaner_blocks[model.block]:
            ways.append(
                f"--config.model.block={block} keeps fewer feature maps for the backward pass"
            )
    return ways


def _smaller_batch(config: Config, fitting: int) -> str:
    flags = f"--config.data.batch_size={fitting}"
    steps = config.data.batch_size / fitting * config.optim.accumulate
    if steps != int(steps):
        return f"{flags} fits (compiled)"
    return (
        f"{flags} --config.optim.accumulate={int(steps)} fits, with as many images per update "
        "(compiled)"
    )


def _shared_images(config: Config, mesh: Mesh, times_too_large: float) -> list[str]:
    """Splitting images over devices, where each group of devices has a single image already."""
    multiple = split_multiple(config.model.name)
    if not multiple or config.data.batch_size != mesh.shape["data"]:
        return []
    space_now = mesh.shape["space"]
    possible = []
    for space in range(space_now + 1, mesh.size + 1):
        splits_evenly = config.data.image_size % (space * multiple) == 0
        if mesh.size % space == 0 and splits_evenly:
            possible.append(space)
    if not possible:
        return []
    enough = [space for space in possible if space >= space_now * times_too_large]
    space = min(enough) if enough else max(possible)
    batch_size = mesh.size // space
    return [
        f"--config.devices.space={space} --config.data.batch_size={batch_size} splits each image "
        f"over {space} devices"
    ]
