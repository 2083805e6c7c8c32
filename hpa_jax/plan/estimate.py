"""One row of the plan: a configuration's steps compiled for a TPU slice that is not there."""

import dataclasses
import math
import re
import time
from collections.abc import Callable
from functools import partial

import jax

from hpa_jax.config import Config
from hpa_jax.parallel.chips import chip_of
from hpa_jax.plan.advice import advice
from hpa_jax.plan.program import Facts, facts
from hpa_jax.plan.roofline import roofline
from hpa_jax.plan.steps import Step, evaluation_step, mesh_of, training_step
from hpa_jax.plan.topologies import available_bytes, devices_of, in_bytes, roomy_devices

STEPS = {"training": training_step, "evaluation": evaluation_step}


class TooLarge(Exception):
    """A program that the device's memory does not hold: bytes that it wants, and that there are."""

    def __init__(self, wanted: int, available: int, text: str):
        super().__init__(text)
        self.wanted, self.available = wanted, available


def estimated(
    config: Config, topology: str, steps: tuple[str, ...], tell: Callable, explain: bool = True
) -> dict:
    """The row of `topology`; its keys are documented in the README ("Plan before you rent").

    Args:
      config: resolved, with an image size.
      topology: a name that resolves.
      steps: of STEPS, those to compile; "training" first.
      tell: takes `stage=`, what is being done.
      explain: where it does not fit, find out what fills the memory and what would help.

    Raises:
      InputError: the devices cannot share the batches or images.
    """
    tell(stage=f"looking up {topology}")
    devices = devices_of(topology)
    mesh = mesh_of(config, devices)
    batch, chip = config.data.batch_size, chip_of(devices[0].device_kind)
    row = {
        "topology": topology,
        "devices": len(devices),
        "device_kind": devices[0].device_kind,
        "measured": False,
        "batch_size": batch,
        "batch_per_chip": batch / len(devices),
        "space": mesh.shape["space"],
        "effort": config.plan.effort,
        "hbm_available_gb": available_bytes(devices[0]) / 1e9,
    }
    for name in steps:
        prefix = "" if name == "training" else "eval_"
        step = STEPS[name](config, mesh)
        begun = time.monotonic()
        try:
            read = facts(compiled(step, config.plan.effort, topology, tell), len(devices))
        except TooLarge as error:
            seconds = time.monotonic() - begun
            row |= _too_large(error, prefix) | {f"{prefix}compile_s": round(seconds, 1)}
            if name == "training":
                row |= _what_fills(config, mesh, step, error, tell) if explain else {}
                break
            continue
        row |= figures(read, row["hbm_available_gb"], prefix) | {
            f"{prefix}compile_s": round(time.monotonic() - begun, 1),
            f"{prefix}state_bytes": step.state_bytes,
        }
        row |= {
            prefix + key: value for key, value in roofline(read, chip, len(devices), batch).items()
        }
    if chip is None:
        row["notes"] = row.get("notes", []) + [
            f"no peaks are known of {devices[0].device_kind}: no times"
        ]
    return row


def figures(read: Facts, available_gb: float, prefix: str = "") -> dict:
    """The part of a row that a program's facts give."""
    over = read.peak / 1e9 - available_gb
    plain = {
        "fits": True,
        "over_gb": over if available_gb else None,  # below 0: what is left
        "peak_hbm_gb": read.peak / 1e9,
        "live_hbm_gb": read.live / 1e9,
        "temporaries_gb": read.temporaries / 1e9,
        "arguments_gb": read.arguments / 1e9,
        "alias_bytes": read.aliased,
        "collectives": read.collectives,
        "kernels": read.kernels,
        "products": read.products,
        "largest": read.largest,
        "notes": read.notes,
        "advice": [],
    }
    return {prefix + key: value for key, value in plain.items()}


def compiled(step: Step, effort: float, where: str, tell: Callable) -> jax.stages.Compiled:
    """Compiles a step for the TPU that its shardings name.

    Raises:
      TooLarge: it does not fit.
    """
    tell(stage=f"{where}: tracing the {step.name} step")
    lowered = step.function.trace(*step.arguments).lower(lowering_platforms=("tpu",))
    tell(stage=f"{where}: compiling the {step.name} step")
    options = {"exec_time_optimization_effort": effort} if effort else {}
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        wanted, available = memory_of(str(error))
        if (
            not available
        ):  # another reason, or another memory than HBM: that of a kernel on the chip
            raise
        raise TooLarge(wanted, available, str(error)) from None


def memory_of(text: str) -> tuple[int, int]:
    """Bytes of HBM wanted and available, of the compiler's refusal in either of its two forms; 0 of another text."""
    size = r"([\d.]+)([KMGT]?)"
    for form in (rf"\({size}\) exceeds available HBM \({size}\)", rf"Used {size} of {size} hbm"):
        if found := re.search(form, text):
            wanted, available = found.groups()[:2], found.groups()[2:]
            return in_bytes(*wanted), in_bytes(*available)
    return 0, 0


def _too_large(error: TooLarge, prefix: str) -> dict:
    over = (error.wanted - error.available) / 1e9
    return {
        prefix + "fits": False,
        prefix + "over_gb": over,
        prefix + "peak_hbm_gb": error.wanted / 1e9,
        prefix + "reason": " ".join(str(error).split())[:400],
    }


def _what_fills(
    config: Config, mesh: jax.sharding.Mesh, step: Step, error: TooLarge, tell: Callable
) -> dict:
    """The largest arrays of a program that does not fit, and what would help.

    A refused program shows none of its arrays. So the same step is compiled with the largest batch that should fit,
    which also shows whether it does; where a device has one field already, on chips with more memory.
    """
    sizes = {"state_bytes": step.state_bytes, "wanted": error.wanted, "available": error.available}
    helps = partial(advice, config, mesh, **sizes)
    groups = mesh.shape["data"]
    fields = config.data.batch_size // groups
    arguments = step.state_bytes
    share = (error.available - arguments) / max(
        1, error.wanted - (arguments if "temporaries" not in str(error) else 0)
    )
    smaller = 2 ** math.floor(math.log2(max(fields * share, 0.25)))
    while smaller >= 1 and smaller < fields:
        tried = dataclasses.replace(
            config, data=dataclasses.replace(config.data, batch_size=smaller * groups)
        )
        where = f"with {smaller} fields in place of {fields}"
        try:
            read = facts(
                compiled(training_step(tried, mesh), config.plan.effort, where, tell), mesh.size
            )
        except TooLarge:
            smaller //= 2
            continue
        return {
            "largest": read.largest,
            "largest_of": f"with {smaller * groups} fields, 1/{fields / smaller:g} of these, which fit",
            "advice": helps(fitting=smaller * groups, largest=read.largest),
        }
    found = {"largest": [], "advice": helps(fitting=0, largest=[])}
    devices = roomy_devices(mesh.shape["space"])
    if devices is None:
        return found
    one = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=1))
    one = dataclasses.replace(
        one, devices=dataclasses.replace(config.devices, space=mesh.shape["space"])
    )
    roomy = mesh_of(one, devices)
    try:
        program = compiled(
            training_step(one, roomy), config.plan.effort, f"on {devices[0].device_kind}", tell
        )
    except TooLarge:
        return found
    largest = facts(program, roomy.size).largest
    where = f"of one field, as laid out for a {devices[0].device_kind}, whose memory holds them"
    return {"largest": largest, "largest_of": where, "advice": helps(fitting=0, largest=largest)}
