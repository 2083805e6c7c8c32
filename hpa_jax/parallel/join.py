"""How the processes of one run, on one host or several, meet.

Which process this is, and where the others are, is said by `config.devices` or by the cluster
(`hpa_jax.parallel.cluster`).

Notes:
- JAX's own way to stop on SIGTERM is switched off, since its signal handler would hide the loop's.
"""

import os
import threading
from typing import Any

import jax

from hpa_jax.config import Devices
from hpa_jax.environment.streams import write_now
from hpa_jax.errors import EXIT_RUN_STOPPED, InputError, RunStopped, one_line
from hpa_jax.parallel.cluster import described, is_one_of_several, may_be_tpu_worker
from hpa_jax.parallel.group_health import RESTART_HINT
from hpa_jax.parallel.process_group import SINGLE_PROCESS, ProcessGroup, SingleProcess
from hpa_jax.parallel.watchdog import delay_abort

_GIVING_UP_S = 60
"""By so much JAX waits longer than this program for processes that do not come."""

_LONGEST_ERROR = 300
"""Characters of an error of JAX in a message."""


def join_process_group(devices: Devices, mode: str) -> SingleProcess | ProcessGroup:
    """Meets the other processes of this run, if there are any.

    To be called before JAX looks for devices.

    Args:
      devices: the section `config.devices`.
      mode: of the command line.

    Raises:
      InputError: the settings are not sufficient, or `mode` is not for several processes.
      RunStopped: not all processes came.
    """
    if not _needs_group(devices, mode):
        return SINGLE_PROCESS
    if mode != "train":
        raise InputError(
            f"--mode={mode} runs in one process: start it once, on one host, "
            "with --config.devices.processes=1"
        )
    address = {
        "coordinator_address": devices.coordinator or None,
        "num_processes": devices.processes or None,
        "process_id": devices.process if devices.process >= 0 else None,
    }
    if None not in address.values():
        address["cluster_detection_method"] = "deactivate"
    elif not (is_one_of_several(os.environ) or may_be_tpu_worker(os.environ)):
        raise InputError(
            f"config.devices.processes={devices.processes}, and no cluster says where they are: "
            "give config.devices.coordinator=HOST:PORT of process 0, and "
            "config.devices.process, from 0, to each"
        )
    _initialize(address, devices)
    if _number_of_processes() == 1:
        # A Cloud TPU slice with one worker.
        return SINGLE_PROCESS
    delay_abort()
    return ProcessGroup(devices.timeout_s)


def _needs_group(devices: Devices, mode: str) -> bool:
    if devices.processes:
        return devices.processes > 1
    # Other modes run on one worker of a TPU slice, without asking for the others.
    may_be_worker = mode == "train" and may_be_tpu_worker(os.environ)
    return is_one_of_several(os.environ) or may_be_worker


def _initialize(address: dict[str, Any], devices: Devices) -> None:
    jax.config.update("jax_enable_preemption_service", False)
    not_met = (
        f"not all processes met at {devices.coordinator or 'the cluster'} within "
        f"{devices.timeout_s} s"
    )
    if said := described(os.environ):
        not_met += f" ({said})"
    # JAX would end this process by abort(), with a stack of C++.
    giving_up = threading.Timer(devices.timeout_s, _give_up, (f"{not_met}{RESTART_HINT}",))
    giving_up.daemon = True
    giving_up.start()
    try:
        jax.distributed.initialize(
            **address,
            initialization_timeout=devices.timeout_s + _GIVING_UP_S,
            # Late, so that the watchdog speaks first: it knows names.
            heartbeat_timeout_seconds=2 * devices.timeout_s + 60,
            shutdown_timeout_seconds=60,
        )
    except (ValueError, TypeError) as error:
        reason = one_line(error, limit=_LONGEST_ERROR)
        raise InputError(
            f"the processes of this run cannot meet ({reason}); give "
            "config.devices.coordinator=HOST:PORT of process 0, config.devices.processes and "
            "config.devices.process"
        ) from error
    except RuntimeError as error:
        reason = one_line(error, limit=_LONGEST_ERROR)
        raise RunStopped(f"{not_met} ({reason}){RESTART_HINT}") from error
    finally:
        giving_up.cancel()


def _give_up(message: str) -> None:
    write_now(2, f"stopped: {message}\n")
    os._exit(EXIT_RUN_STOPPED)


def _number_of_processes() -> int:
    from jax._src.distributed import global_state

    return global_state.num_processes
