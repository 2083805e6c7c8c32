"""How many CPU devices a process has, how a step that runs for hours is compiled, and kept."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax

from hpa_jax.buckets import mounts
from hpa_jax.buckets.url import is_bucket_url
from hpa_jax.environment.cache_folder import cache_folder
from hpa_jax.environment.cores import available_cores
from hpa_jax.environment.garbage import without_collection
from hpa_jax.errors import InputError, RunStopped, one_line
from hpa_jax.files import check_writable

MOST_CPU_DEVICES = 8
"""Each device holds the full state; and on two cores eight devices are no faster than one."""

COMPILER_OPTIONS = {
    "cpu": {
        # Independent operations run side by side: a tenth faster on two cores, in no more memory.
        "xla_cpu_enable_concurrency_optimized_scheduler": True,
        # The pass that removes lax.optimization_barrier: on CPUs it comes before fusions are made,
        # so that a barrier keeps nothing from being computed again for each of its readers.
        "xla_disable_hlo_passes": "cse_barrier_expander",
        # LLVM's first level: XLA's own passes have made the loops by then, and a step takes no
        # longer, but its kernels a tenth less to compile.
        "xla_backend_optimization_level": 1,
    }
}
"""By JAX's name of the platform."""

CACHE_BYTES = 2 * 10**9
"""Of compiled programs in a bucket, the newest, that a start downloads."""

TRACED = "traced"
"""Folder of traced steps among the compiled programs."""

CPU_TIMEOUTS_S = {
    # Until XLA prints that a device of this process waits, with a stack trace of each thread.
    "xla_cpu_collective_call_warn_stuck_timeout_seconds": 300,
    # Until it aborts this process; and until a sum over several processes is an error.
    "xla_cpu_collective_call_terminate_timeout_seconds": 3600,
    "xla_cpu_collective_timeout_seconds": 3600,
}
"""Seconds for which CPU devices wait for each other in a sum over all of them, by XLA's flag."""


def wait_for_busy_cpus() -> None:
    """Lets CPU devices wait for each other for an hour instead of 40 seconds.

    XLA aborts the process where one device comes to a sum 40 seconds after another one; on a busy
    machine, or one that was suspended, that is no error. Of several processes, one that hangs is
    the watchdog's business, and it knows names. To be called before JAX looks for devices; what
    XLA_FLAGS says already is kept.
    """
    os.environ["XLA_FLAGS"] = with_cpu_timeouts(os.environ.get("XLA_FLAGS", ""))


def with_cpu_timeouts(flags: str) -> str:
    """XLA_FLAGS with those of CPU_TIMEOUTS_S that it does not have."""
    if flags and not flags.startswith("-"):
        # The name of a file of flags, which nothing may follow.
        return flags
    words = flags.split()
    for name, seconds in CPU_TIMEOUTS_S.items():
        if name not in flags:
            words.append(f"--{name}={seconds}")
    return " ".join(words)


def use_compilation_cache() -> Path | None:
    """Keeps compiled programs between runs.

    In JAX_COMPILATION_CACHE_DIR, or the user's cache folder. Where that cannot be written, one line
    on stderr says so, and programs that it holds already are still taken from it. Of one in a
    bucket, `gs://BUCKET/FOLDER`, there is a local copy, and `publish_compiled` uploads what is new.

    Returns:
      Where traced steps are kept beside them; None where there is no such folder.
    """
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    try:
        named = jax.config.jax_compilation_cache_dir
        if named and is_bucket_url(named):
            # JAX itself would need TensorFlow's file systems, or fsspec's where there is none.
            folder = mounts.local_copy(
                named, f"JAX_COMPILATION_CACHE_DIR={named}", most_bytes=CACHE_BYTES
            )
            # What XLA itself keeps lies beside it, by a path that JAX makes a part of every key.
            jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
        else:
            folder = Path(named) if named else cache_folder() / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        check_writable(folder, "set JAX_COMPILATION_CACHE_DIR to a folder that can be written")
    except (InputError, RunStopped) as error:
        print(f"compiled programs are not kept: {error}", file=sys.stderr)
        # JAX would say so again for each program.
        warnings.filterwarnings("ignore", message="Error writing persistent compilation cache")
        warnings.filterwarnings("ignore", message="Error reading persistent compilation cache")
        return None
    return folder / TRACED


def publish_compiled() -> None:
    """Uploads compiled programs that are new, where they are kept in a bucket."""
    named = jax.config.jax_compilation_cache_dir
    if not named or mounts.mount_of(Path(named)) is None:
        return
    try:
        mounts.publish(Path(named))
    except (InputError, RunStopped) as error:
        print(f"compiled programs are not kept: {error}", file=sys.stderr)


def use_cpu_cores(batch_size: int, space: int = 0) -> None:
    """Makes each core a JAX device, as far as batches can be divided over them.

    On one device XLA parallelizes its convolutions itself, less well than several devices share a
    batch. To be called before JAX looks for devices. A number of CPU devices that was set
    otherwise (JAX_NUM_CPU_DEVICES, XLA_FLAGS) is kept, and on a GPU or TPU nothing changes.

    Args:
      batch_size: images of a step.
      space: devices over which the height of each image is sharded, 0 or 1 for none, as in
        `config.devices.space`.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" in flags:
        return
    if jax.config.jax_num_cpu_devices != -1:
        return
    # A RuntimeError says that JAX has looked for devices already.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", devices_for(available_cores(), batch_size, space))


def devices_for(cores: int, batch_size: int, space: int = 0) -> int:
    """As many devices as there are cores, in groups of `space`, that divide a batch evenly.

    Args:
      cores: of the machine; at most MOST_CPU_DEVICES are used.
      batch_size: images of a step.
      space: devices in a group; 0 or 1: each stands alone.
    """
    group = max(1, space)
    most = min(cores, MOST_CPU_DEVICES)
    best = 1
    for devices in range(group, most + 1, group):
        groups = devices // group
        if batch_size % groups == 0:
            best = devices
    return best


def compile_for(platform: str, function, *arguments) -> jax.stages.Compiled:
    """Compiles a jitted function.

    Args:
      platform: of the devices, by JAX's name.
      function: jitted.
      arguments: arrays, or their shapes, dtypes and shardings.
    """
    with without_collection():
        lowered = function.lower(*arguments)
    return lowered.compile(compiler_options=COMPILER_OPTIONS.get(platform))


@contextlib.contextmanager
def kernels_explained(device: jax.Device) -> Iterator[None]:
    """Makes one line of an error in compiling a step with Pallas kernels for a GPU.

    JAX promises little of its way there, and no two GPUs have the same limits.

    Args:
      device: one of those that it is compiled for.

    Raises:
      InputError: names the setting without kernels.
    """
    try:
        yield
    except Exception as error:
        # Pallas has one of its own, which it does not export.
        is_compilers = isinstance(error, jax.errors.JaxRuntimeError)
        is_compilers = is_compilers or type(error).__name__ == "LoweringError"
        text = str(error)
        # Of memory it is a kernel's matter only where it is the multiprocessor's.
        is_memory = "RESOURCE_EXHAUSTED" in text and "hared memory" not in text
        if is_memory or not is_compilers:
            raise
        raise InputError(
            f"the kernels do not compile for this {device.device_kind} "
            f"({one_line(error, limit=200)}); XLA's operations do the same: "
            "--config.model.kernels=False"
        ) from error
