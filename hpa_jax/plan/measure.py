"""The row of the devices at hand: the same steps, run on random fields and timed."""

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from hpa_jax.config import Config
from hpa_jax.parallel.chips import chip_of
from hpa_jax.parallel.compile import compile_for, use_cpu_cores
from hpa_jax.parallel.mesh import put_batch, replicated
from hpa_jax.plan.estimate import figures
from hpa_jax.plan.program import facts
from hpa_jax.plan.roofline import roofline
from hpa_jax.plan.steps import STEPS, evaluation_step, mesh_of, training_step
from hpa_jax.training import components
from hpa_jax.training.state import eval_variables

TURNS, SECONDS = 20, 20.0
"""Steps that are timed at most, and seconds after which no further one begins; three are timed in any case."""


def measured(config: Config, tell: Callable) -> dict:
    """As `estimate.estimated`; `ms_per_image` and `eval_ms_per_image` are medians of steps that ran.

    Raises:
      InputError: the devices cannot share the batches or images.
    """
    tell(stage="here: looking for devices")
    use_cpu_cores(config.data.batch_size, config.devices.space)
    devices = jax.devices()
    mesh, kind = mesh_of(config, devices), devices[0].device_kind
    batch, chip, memory = config.data.batch_size, chip_of(kind), devices[0].memory_stats() or {}
    row = {
        "topology": "here",
        "devices": len(devices),
        "device_kind": kind,
        "measured": True,
        "batch_size": batch,
        "batch_per_chip": batch / len(devices),
        "space": mesh.shape["space"],
        "effort": None,
        "hbm_available_gb": memory.get("bytes_limit", 0) / 1e9,
    }
    try:
        setup = components.Setup(config, mesh, num_steps=STEPS)
        seed = config.train.seed
        state = setup.initial_state(
            components.initial_variables(setup.model, setup.input_shape, seed)
        )
        arrays = _random_batch(config)
        tell(stage="here: compiling the training step")
        begun = time.monotonic()
        step = training_step(config, mesh)
        program = compile_for(devices[0].platform, step.function, *step.arguments)
        row |= _read(program, row, chip, batch, "", time.monotonic() - begun)
        row["state_bytes"] = step.state_bytes
        given = put_batch({name: arrays[name] for name in step.arguments[1]}, mesh)
        tell(stage="here: timing the training step")
        state, seconds = _timed(lambda state: program(state, given)[0], state)
        row |= {"ms_per_image": 1e3 * seconds * len(devices) / batch}

        tell(stage="here: compiling the evaluation step")
        begun = time.monotonic()
        step = evaluation_step(config, mesh)
        program = step.function.lower(*step.arguments).compile()
        row |= _read(program, row, chip, batch, "eval_", time.monotonic() - begun)
        given = put_batch({name: arrays[name] for name in step.arguments[2]}, mesh)
        counts = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), step.arguments[0])
        counts = jax.device_put(counts, replicated(mesh))
        variables = eval_variables(state)
        tell(stage="here: timing the evaluation step")
        _, seconds = _timed(lambda counts: program(counts, variables, given), counts)
        row |= {"eval_ms_per_image": 1e3 * seconds * len(devices) / batch}
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
            raise
        text = " ".join(str(error).split())[:400]
        row |= {
            "fits": False,
            "over_gb": None,
            "reason": text,
            "advice": [],
            "largest": row.get("largest", []),
        }
    if used := (devices[0].memory_stats() or {}).get("peak_bytes_in_use"):
        row["peak_hbm_gb"] = used / 1e9
    return row


def _read(program, row: dict, chip, batch: int, prefix: str, seconds: float) -> dict:
    read = facts(program, row["devices"])
    found = figures(read, row["hbm_available_gb"], prefix) | {
        prefix + "compile_s": round(seconds, 1)
    }
    estimated = roofline(read, chip, row["devices"], batch)
    estimated["roofline_ms_per_image"] = estimated.pop("ms_per_image")
    return found | {prefix + key: value for key, value in estimated.items()}


def _random_batch(config: Config) -> dict[str, np.ndarray]:
    data, rng = config.data, np.random.default_rng(0)
    size = data.image_size
    return {
        "image": rng.integers(0, 256, (data.batch_size, size, size, 4), np.uint8),
        "targets": rng.integers(0, 2, (data.batch_size, len(config.label_ids())), np.uint8),
        "source": np.zeros(data.batch_size, np.int32),
        "mask": np.ones(data.batch_size, bool),
    }


def _timed(step: Callable, carried) -> tuple:
    """What the last of some steps hands on, and the median of their seconds without the first one's."""
    carried = jax.block_until_ready(step(carried))
    seconds, begun = [], time.monotonic()
    while len(seconds) < 3 or (len(seconds) < TURNS and time.monotonic() - begun < SECONDS):
        before = time.monotonic()
        carried = jax.block_until_ready(step(carried))
        seconds.append(time.monotonic() - before)
    return carried, statistics.median(seconds)
