"""What the processors of this machine are to XLA, and how a step that runs for hours is compiled for its devices."""

import contextlib
import gc
import os
from collections.abc import Iterator

import jax

MOST_CPU_DEVICES = 8
"""Each holds the whole state; and on two cores eight are no faster than one."""

# Independent operations run side by side: a tenth faster on two cores, in no more memory.
OPTIONS = {"cpu": {"xla_cpu_enable_concurrency_optimized_scheduler": True}}
"""Of the compiler, by JAX's name of the platform."""


def use_cpu_cores(batch_size: int, space: int = 0) -> None:
    """Makes each core a device, as far as batches can be shared out; to be called before JAX looks for devices.

    On one device XLA's convolutions share out their own work, less well than devices share out a batch. What JAX was
    told about CPU devices holds (JAX_NUM_CPU_DEVICES), and on a GPU or TPU nothing changes.

    Args:
      batch_size: fields of a step.
      space: devices over which the height of each image is cut, 0 or 1 for none, as in `config.devices.space`.
    """
    told = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if told or jax.config.jax_num_cpu_devices != -1:
        return
    with contextlib.suppress(RuntimeError):  # it has looked already
        jax.config.update("jax_num_cpu_devices", devices_for(cores(), batch_size, space))


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices_for(cores: int, batch_size: int, space: int = 0) -> int:
    """As many devices as there are cores, MOST_CPU_DEVICES at most, in groups of `space` that share each batch."""
    group = max(1, space)
    numbers = range(group, min(cores, MOST_CPU_DEVICES) + 1, group)
    return max((n for n in numbers if batch_size % (n // group) == 0), default=1)


def compile_for(platform: str, function, *arguments) -> jax.stages.Compiled:
    """Compiles a jitted function for arguments of these shapes, types and shardings; `platform` as JAX names it."""
    with (
        _no_garbage_collection()
    ):  # tracing makes objects by the million and drops few: a quarter of its time
        lowered = function.lower(*arguments)
    return lowered.compile(compiler_options=OPTIONS.get(platform))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
