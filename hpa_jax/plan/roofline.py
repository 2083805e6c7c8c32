"""How long a step takes at least: none of arithmetic, memory and links can be faster than its peak."""

from hpa_jax.parallel.chips import Chip
from hpa_jax.plan.program import Facts

LIMITS = ("arithmetic", "memory", "links")


def roofline(facts: Facts, chip: Chip | None, devices: int, batch_size: int) -> dict:
    """What a step costs an image, on one device's time.

    Args:
      facts: of one device's step.
      chip: whose peaks hold; None: unknown, and no times are given.
      devices: that share a step.
      batch_size: fields of a step, over all devices.

    Returns:
      `hbm_gb_per_image`, `flops_per_image` (of all devices together), `limits_ms` (milliseconds of one device an image,
      for each of LIMITS), `ms_per_image` (the largest of these), `binds` (whose that is).
    """
    share = devices / batch_size
    figures = {
        "hbm_gb_per_image": facts.traffic * share / 1e9,
        "flops_per_image": facts.flops * share,
    }
    if chip is None:
        return figures | {"limits_ms": None, "ms_per_image": None, "binds": None}
    sent = sum(kind["sent_bytes"] for kind in facts.collectives.values())
    seconds = {
        "arithmetic": facts.flops / chip.flops_bf16,
        "memory": facts.traffic / chip.hbm_bytes_per_s,
    }
    seconds["links"] = sent / chip.ici_bytes_per_s if chip.ici_bytes_per_s else 0.0
    limits = {name: 1e3 * seconds[name] * share for name in LIMITS}
    binds = max(LIMITS, key=limits.get)
    return figures | {"limits_ms": limits, "ms_per_image": limits[binds], "binds": binds}


def hours_per_epoch(ms_per_image: float | None, fields: int, devices: int) -> float | None:
    """Of so many fields on so many devices, at least: nothing but steps, each as fast as it can be."""
    return None if ms_per_image is None else ms_per_image * fields / devices / 3.6e6
