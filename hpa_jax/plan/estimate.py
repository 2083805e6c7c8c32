"""One row of the plan: a configuration's steps compiled for devices that are not there."""

import dataclasses
import math
import re
import time
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from hpa_jax.config import Config
from hpa_jax.parallel.chips import chip_of
from hpa_jax.plan import gpus
from hpa_jax.plan.program import ProgramFacts, read_program, roofline
from hpa_jax.plan.search import advice
from hpa_jax.plan.steps import Step, evaluation_step, mesh_of, training_step
from hpa_jax.plan.topologies import (
    available_bytes,
    devices_of,
    parse_bytes,
    platform_of,
    roomiest,
)

STEPS = {"training": training_step, "evaluation": evaluation_step}

# Prefixes of a row's keys.
PREFIXES = {"training": "", "evaluation": "eval_"}


class TooLarge(Exception):
    """A program that does not fit into the device's memory.

    Attributes:
      wanted, available: bytes.
    """

    def __init__(self, wanted: int, available: int, text: str):
        super().__init__(text)
        self.wanted = wanted
        self.available = available


def estimate(
    config: Config,
    topology: str,
    steps: tuple[str, ...],
    report: Callable,
    explain: bool = True,
) -> dict:
    """The row of `topology`; docs/tpu.md documents its keys.

    Args:
      config: resolved, with an image size.
      topology: a name that the compiler knows.
      steps: the steps to compile, of STEPS; "training" first.
      report: takes `stage=`, what is being done.
      explain: where the training step does not fit, find out what fills the memory and what helps.

    Raises:
      InputError: the devices cannot share the batches or images.
    """
    report(stage=f"looking up {topology}")
    devices = devices_of(topology)
    device_kind = devices[0].device_kind
    mesh = mesh_of(config, devices)
    batch_size = config.data.batch_size
    chip = chip_of(device_kind)
    row = {
        "topology": topology,
        "devices": len(devices),
        "device_kind": device_kind,
        "measured": False,
        "batch_size": batch_size,
        "batch_per_chip": batch_size / len(devices),
        "space": mesh.shape["space"],
        "effort": config.plan.effort if platform_of(topology) == "tpu" else None,
        "hbm_available_gb": available_bytes(topology, devices[0]) / 1e9,
    }
    for name in steps:
        step = STEPS[name](config, mesh)
        start = time.monotonic()
        try:
            facts = compile_step(step, config.plan.effort, topology, len(devices), report, topology)
        except TooLarge as error:
            found = _too_large(error)
            if name == "training" and explain:
                found |= _what_fills_memory(config, mesh, step, error, report, topology)
        else:
            found = memory_columns(facts, row["hbm_available_gb"])
            found["state_bytes"] = step.state_bytes
            found |= roofline(facts, chip, len(devices), batch_size)
        found["compile_s"] = round(time.monotonic() - start, 1)
        row |= {PREFIXES[name] + key: value for key, value in found.items()}
        if not found["fits"] and name == "training":
            break
    if chip is None:
        unknown = f"no peaks are known of {device_kind}: no times"
        row["notes"] = [*row.get("notes", []), unknown]
    return row


def memory_columns(facts: ProgramFacts, available_gb: float) -> dict:
    """The part of a row that follows from a program that fits.

    Args:
      facts: of the program.
      available_gb: of a device's memory, in 10^9 bytes; 0: not known.
    """
    over_gb = None
    if available_gb:
        over_gb = facts.peak / 1e9 - available_gb  # negative: what is left
    return {
        "fits": True,
        "over_gb": over_gb,
        "peak_hbm_gb": facts.peak / 1e9,
        "live_hbm_gb": facts.live / 1e9,
        "temporaries_gb": facts.temporaries / 1e9,
        "arguments_gb": facts.arguments / 1e9,
        "alias_bytes": facts.aliased,
        "collectives": facts.collectives,
        "kernels": facts.kernels,
        "products": facts.products,
        "largest": facts.largest,
        "notes": facts.notes,
        "advice": [],
    }


def compile_step(
    step: Step, effort: float, where: str, devices: int, report: Callable, topology: str
) -> ProgramFacts:
    """Compiles a step for the devices that its shardings name, and reads the program.

    Args:
      step: to compile.
      effort: of the compiler for TPUs.
      where: for the lines on what is being done.
      devices: that share the step.
      report: takes `stage=`.
      topology: that the devices are of.

    Raises:
      TooLarge: it does not fit.
    """
    platform = platform_of(topology)
    report(stage=f"{where}: tracing the {step.name} step")
    traced = step.function.trace(*step.arguments)
    lowered = traced.lower(lowering_platforms=(platform,))
    report(stage=f"{where}: compiling the {step.name} step")
    options = {}
    if effort and platform == "tpu":
        options["exec_time_optimization_effort"] = effort
    try:
        program = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        wanted, available = memory_in_refusal(str(error))
        if not available:
            # Refused for another reason, or for a kernel's memory on the chip.
            raise
        raise TooLarge(wanted, available, str(error)) from None
    facts = read_program(program, traced.jaxpr, devices)
    if platform == "cuda":
        _refuse_too_large(facts, topology)
    return facts


def _refuse_too_large(facts: ProgramFacts, topology: str) -> None:
    """Raises TooLarge where a GPU has less memory: the compiler for GPUs does not look."""
    available = gpus.available_bytes(topology)
    if facts.peak > available:
        text = f"{facts.peak / 1e9:.2f} GB, of which JAX's allocator has {available / 1e9:.2f} GB"
        raise TooLarge(facts.peak, available, text)


def memory_in_refusal(text: str) -> tuple[int, int]:
    """Bytes of HBM wanted and available in the compiler's message; (0, 0) in any other text."""
    size = r"([\d.]+)([KMGT]?)"
    forms = (
        rf"\({size}\) exceeds available HBM \({size}\)",
        rf"Used {size} of {size} hbm",
    )
    for form in forms:
        found = re.search(form, text)
        if found:
            wanted, wanted_unit, available, available_unit = found.groups()
            return parse_bytes(wanted, wanted_unit), parse_bytes(available, available_unit)
    return 0, 0


def _too_large(error: TooLarge) -> dict:
    return {
        "fits": False,
        "over_gb": (error.wanted - error.available) / 1e9,
        "peak_hbm_gb": error.wanted / 1e9,
        "reason": " ".join(str(error).split())[:400],
    }


def _what_fills_memory(
    config: Config, mesh: Mesh, step: Step, error: TooLarge, report: Callable, topology: str
) -> dict:
    """The largest arrays of a program that does not fit, and what would help.

    The compiler shows no arrays of a program that it refuses. So the same step is compiled with
    the largest batch that should fit, which also shows whether it does; where a device has a
    single image already, it is compiled for chips with more memory.
    """

    def explanation(largest: list[dict], fitting: int) -> dict:
        ways = advice(
            config,
            mesh,
            state_bytes=step.state_bytes,
            wanted=error.wanted,
            available=error.available,
            fitting=fitting,
            largest=largest,
        )
        return {"largest": largest, "advice": ways}

    groups = mesh.shape["data"]
    images = config.data.batch_size // groups
    smaller = _guess_fitting_batch(images, step.state_bytes, error)
    while 1 <= smaller < images:
        batch_size = smaller * groups
        where = f"with {smaller} images in place of {images}"
        try:
            facts = _compile_with(config, mesh, where, report, batch_size, topology)
        except TooLarge:
            smaller //= 2
            continue
        found = explanation(facts.largest, fitting=batch_size)
        part = f"1/{images / smaller:g} of these, which fit"
        found["largest_of"] = f"with {batch_size} images, {part}"
        return found

    roomy = roomiest(topology)
    devices = devices_of(roomy)[: mesh.shape["space"]]
    if len(devices) < mesh.shape["space"]:
        return explanation([], fitting=0)
    one_group = dataclasses.replace(config.devices, space=mesh.shape["space"])
    one_image = dataclasses.replace(
        config, data=dataclasses.replace(config.data, batch_size=1), devices=one_group
    )
    kind = devices[0].device_kind
    try:
        roomy_mesh = mesh_of(one_image, devices)
        facts = _compile_with(one_image, roomy_mesh, f"on {kind}", report, 1, roomy)
    except TooLarge:
        return explanation([], fitting=0)
    found = explanation(facts.largest, fitting=0)
    found["largest_of"] = f"of one image, as laid out for a {kind}, whose memory holds them"
    return found


def _guess_fitting_batch(images: int, state_bytes: int, error: TooLarge) -> int:
    """A power of two, from memory in proportion to the batch; 0 where not even one image fits."""
    wanted = error.wanted
    # One form of the message counts temporaries alone, the other arguments as well.
    if "temporaries" not in str(error):
        wanted -= state_bytes
    fraction = (error.available - state_bytes) / max(1, wanted)
    return math.floor(2 ** math.floor(math.log2(max(images * fraction, 0.25))))


def _compile_with(
    config: Config, mesh: Mesh, where: str, report: Callable, batch_size: int, topology: str
) -> ProgramFacts:
    data = dataclasses.replace(config.data, batch_size=batch_size)
    step = training_step(dataclasses.replace(config, data=data), mesh)
    return compile_step(step, config.plan.effort, where, mesh.size, report, topology)
