"""The largest batch a device, a power of two, whose training step fits: a few more compilations."""

import dataclasses
import math

from hpa_jax.config import Config, to_dict
from hpa_jax.plan.compiler import Died, Refused, ask

LARGEST = 2**14
"""Fields a group of devices that are tried at most."""


def largest_batch(config: Config, row: dict, libtpu: list[str] | None) -> dict:
    """The part of a row that says so: `largest_batch_per_chip`, `largest_batch_size`, and each try in `search`.

    Begins where the first program's memory points to, and goes up or down by factors of two until one fits and the next
    does not. Tries are of the training step alone, which needs more.

    Args:
      config: resolved.
      row: of this configuration and slice, as `estimate.estimated` gives it.
      libtpu: `children.find_libtpu`.
    """
    groups = row["devices"] // row["space"]
    known = {row["batch_size"] / groups: row["fits"]}
    fixed = row.get("arguments_gb", 0.0)
    growing = max(row["peak_hbm_gb"] - fixed, 1e-9) / (row["batch_size"] / groups)
    guess = max(1.0, (row["hbm_available_gb"] - fixed) / growing)
    exponent = min(math.floor(math.log2(guess)), int(math.log2(LARGEST)))
    seconds, name = row["compile_s"], row["topology"]
    print(
        f"{name}: looking for the largest batch; about 3 tries of {seconds:.0f} s ({3 * seconds / 60:.1f} minutes), "
        f"the first with {2**exponent} fields {'a device' if row['space'] == 1 else 'a group of devices'}",
        flush=True,
    )
    tries = []

    def fits(exponent: int) -> bool:
        fields = 2**exponent
        if fields not in known:
            tried = dataclasses.replace(
                config, data=dataclasses.replace(config.data, batch_size=fields * groups)
            )
            tried = dataclasses.replace(
                tried, devices=dataclasses.replace(config.devices, space=row["space"])
            )
            request = {
                "config": to_dict(tried),
                "topology": name,
                "steps": ["training"],
                "alone": True,
            }
            found = ask(request, f"{name}: {fields} fields", libtpu)
            known[fields] = found["fits"]
            kept = (
                "batch_size",
                "batch_per_chip",
                "fits",
                "over_gb",
                "peak_hbm_gb",
                "hbm_gb_per_image",
                "compile_s",
            )
            tries.append({key: found.get(key) for key in kept})
            print(f"{name}: {fields} fields {'fit' if found['fits'] else 'do not fit'}", flush=True)
        return known[fields]

    try:
        while exponent >= 0 and not fits(exponent):
            exponent -= 1
        while 0 <= exponent < math.log2(LARGEST) and fits(exponent + 1):
            exponent += 1
    except (Refused, Died) as error:
        return {
            "search": tries,
            "notes": [*row.get("notes", []), f"the search ended early: {error}"],
        }
    best = 2**exponent if exponent >= 0 else 0
    return {
        "search": tries,
        "largest_batch_size": best * groups,
        "largest_batch_per_chip": best / row["space"],
    }
