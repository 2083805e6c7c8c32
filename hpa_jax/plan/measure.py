"""The row of this machine's devices: the same steps, run on random images and timed."""

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from hpa_jax.config import Config
from hpa_jax.parallel import memory
from hpa_jax.parallel.chips import Chip, chip_of
from hpa_jax.parallel.compile import compile_for, use_cpu_cores
from hpa_jax.parallel.mesh import put_batch, replicated
from hpa_jax.plan.estimate import memory_columns
from hpa_jax.plan.program import read_program, roofline
from hpa_jax.plan.steps import STEPS, Step, evaluation_step, mesh_of, training_step
from hpa_jax.plan.topologies import HERE
from hpa_jax.training import components
from hpa_jax.training.state import eval_variables

MAX_STEPS = 20
"""Most steps that are timed."""

MIN_STEPS = 3
"""Steps that are timed however long they take."""

MAX_SECONDS = 20.0
"""After this time no further step is started."""


def measure(config: Config, report: Callable) -> dict:
    """As `estimate.estimate`; `ms_per_image` and `eval_ms_per_image` are medians of steps that ran.

    Args:
      config: resolved, with an image size.
      report: takes `stage=`, what is being done.

    Raises:
      InputError: the devices cannot share the batches or images.
    """
    report(stage="here: looking for devices")
    use_cpu_cores(config.data.batch_size, config.devices.space)
    devices = jax.devices()
    mesh = mesh_of(config, devices)
    batch_size = config.data.batch_size
    row = {
        "topology": HERE,
        "devices": len(devices),
        "device_kind": devices[0].device_kind,
        "measured": True,
        "batch_size": batch_size,
        "batch_per_chip": batch_size / len(devices),
        "space": mesh.shape["space"],
        "effort": None,
        "hbm_available_gb": _memory_statistics(devices[0]).get("bytes_limit", 0) / 1e9,
    }
    try:
        _measure_steps(config, mesh, row, report)
    except (jax.errors.JaxRuntimeError, memory.NoRoom) as error:
        if not memory.is_out_of_memory(error):
            raise
        row["fits"] = False
        row["over_gb"] = None
        row["reason"] = " ".join(str(error).split())[:400]
        row["advice"] = []
        row.setdefault("largest", [])
    peak = _memory_statistics(devices[0]).get("peak_bytes_in_use")
    if peak:
        row["peak_hbm_gb"] = peak / 1e9
    return row


def _measure_steps(config: Config, mesh: jax.sharding.Mesh, row: dict, report: Callable) -> None:
    """Adds what the two steps need and take to `row`."""
    device = mesh.devices.flat[0]
    chip = chip_of(device.device_kind)
    device_ms_per_second = 1e3 * row["devices"] / row["batch_size"]

    setup = components.Setup(config, mesh, num_steps=STEPS)
    variables = setup.task.initial_variables()
    state = setup.initial_state(variables)
    report(stage="here: compiling the training step")
    start = time.monotonic()
    step = training_step(config, mesh)
    program = compile_for(device.platform, step.function, *step.arguments)
    row |= _columns(step, program, row, chip, "", time.monotonic() - start)
    memory.rooms(mesh.devices.flat).check(
        "a training step",
        memory.program_bytes(program),
        advice=memory.advice(config, "plan"),
    )
    row["state_bytes"] = step.state_bytes
    batch = put_batch(random_arrays(step.arguments[1]), mesh)
    report(stage="here: timing the training step")
    state, seconds = _time(lambda state: program(state, batch)[0], state)
    row["ms_per_image"] = seconds * device_ms_per_second

    report(stage="here: compiling the evaluation step")
    start = time.monotonic()
    step = evaluation_step(config, mesh)
    program = step.function.lower(*step.arguments).compile()
    row |= _columns(step, program, row, chip, "eval_", time.monotonic() - start)
    batch = put_batch(random_arrays(step.arguments[2]), mesh)
    counts = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), step.arguments[0])
    counts = jax.device_put(counts, replicated(mesh))
    variables = eval_variables(state)
    report(stage="here: timing the evaluation step")
    _, seconds = _time(lambda counts: program(counts, variables, batch), counts)
    row["eval_ms_per_image"] = seconds * device_ms_per_second


def _memory_statistics(device: jax.Device) -> dict:
    return device.memory_stats() or {}


def _columns(
    step: Step,
    program: jax.stages.Compiled,
    row: dict,
    chip: Chip | None,
    prefix: str,
    seconds: float,
) -> dict:
    jaxpr = step.function.trace(*step.arguments).jaxpr
    facts = read_program(program, jaxpr, row["devices"])
    columns = memory_columns(facts, row["hbm_available_gb"])
    columns["compile_s"] = round(seconds, 1)
    columns |= roofline(facts, chip, row["devices"], row["batch_size"])
    columns["roofline_ms_per_image"] = columns.pop("ms_per_image")
    return {prefix + key: value for key, value in columns.items()}


def random_arrays(batch: dict[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """The arrays of a batch, on the host: any pixels, targets 0 or 1, masks that leave none out."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, array in batch.items():
        if array.dtype == bool:
            arrays[name] = np.ones(array.shape, bool)
        elif array.dtype == np.uint8:
            values = 256 if name == "image" else 2
            arrays[name] = rng.integers(0, values, array.shape, np.uint8)
        else:
            arrays[name] = np.zeros(array.shape, array.dtype)
    return arrays


def _time(step: Callable, carried) -> tuple:
    """The result of the last of several steps, and the median seconds, without the first step."""
    carried = jax.block_until_ready(step(carried))
    seconds = []
    start = time.monotonic()
    while len(seconds) < MIN_STEPS or (
        len(seconds) < MAX_STEPS and time.monotonic() - start < MAX_SECONDS
    ):
        step_start = time.monotonic()
        carried = jax.block_until_ready(step(carried))
        seconds.append(time.monotonic() - step_start)
    return carried, statistics.median(seconds)
