"""The processes of one run, on one host or several: how they find each other, and what they settle between them.

Which process this is, and where the others are, comes from `config.devices`, or from the cluster: Cloud TPU slices with
several workers, Slurm, Open MPI. A machine that is none of these is not searched for a cluster.

Unusual: JAX's own way to stop on SIGTERM is switched off, since its signal handler would hide the loop's; and of
jax.distributed's client the store of keys and values is used, which JAX keeps private (hence the pinned version).
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hpa_jax.config import Config, Devices, differences, from_dict, to_dict
from hpa_jax.errors import EXIT_OK, EXIT_START_AGAIN, InputError, RunStopped
from hpa_jax.parallel.watchdog import Watchdog, delay_abort

_STORE = "hpa_jax"
_OWN = (
    "devices.process",
    "data.data_dir",
    "data.threads",
)  # what each process may have its own way


class SingleProcess:
    """The one process of a run: what `ProcessGroup` is to several, at no cost."""

    index, count, first = 0, 1, True
    asked_by = ""

    def at(self, where: str, *, slow: bool = False) -> bool:
        return False

    def note(self, where: str) -> None:
        pass

    def ask_to_stop(self, signal_name: str) -> None:
        pass

    def first_says(self, value: Any) -> Any:
        return value

    def meet(self, where: str) -> None:
        pass

    def check_equal(self, what: str, value: Any) -> None:
        pass

    def check_same(self, config: Config) -> None:
        pass

    def lost_each_other(self) -> None:
        pass

    def leave(self, status: int, why: str = "") -> None:
        pass


class ProcessGroup:
    """One of several processes that have met.

    Attributes:
      index, count: which one it is, from 0, of how many.
      first: whether it is the one that writes what only one may write.
    """

    def __init__(self, timeout_s: float):
        from jax._src.distributed import global_state

        self._client, self._said, self._met = global_state.client, 0, 0
        self.index, self.count = global_state.process_id, global_state.num_processes
        self.first = self.index == 0
        self._watch = Watchdog(
            self.index,
            self.count,
            host=socket.gethostname(),
            exchange=self._exchange,
            timeout_s=timeout_s,
            say=lambda text: tell(self, text),
        )
        self.at, self.note, self.ask_to_stop = (
            self._watch.at,
            self._watch.note,
            self._watch.ask_to_stop,
        )

    @property
    def asked_by(self) -> str:
        return self._watch.asked_by

    def _exchange(self, line: str) -> dict[int, str]:
        self._client.key_value_set(f"{_STORE}/watch/{self.index}", line, allow_overwrite=True)
        found = self._client.key_value_dir_get(f"{_STORE}/watch/")
        return {int(key.rpartition("/")[2]): text for key, text in found}

    def first_says(self, value: Any) -> Any:
        """Process 0's value (JSON) in every process; each calls this as often as the others."""
        self._said += 1
        self.at("what process 0 says")
        key = f"{_STORE}/said/{self._said}"
        if self.first:
            self._client.key_value_set(key, json.dumps(value))
            return value
        return json.loads(
            self._client.blocking_key_value_get(key, 2**31 - 1)
        )  # the watch bounds it

    def meet(self, where: str) -> None:
        """Waits for all processes, then lets all devices meet: on CPUs they wait 30 s for each other and no longer."""
        self._met += 1
        self.at(where, slow=True)
        self._client.wait_at_barrier(f"{_STORE}/met/{self._met}", 2**31 - 1)  # the watch bounds it
        devices = Mesh(jax.devices(), "all")
        ones = np.ones(jax.local_device_count(), np.float32)
        each = jax.make_array_from_process_local_data(NamedSharding(devices, P("all")), ones)
        jax.block_until_ready(jax.jit(jnp.sum, out_shardings=NamedSharding(devices, P()))(each))

    def check_equal(self, what: str, value: Any) -> None:
        """Refuses a process that has another value (JSON) than process 0.

        Raises:
          InputError: names both.
        """
        theirs = self.first_says(value)
        if value != theirs:
            raise InputError(
                f"{what}: process {self.index} has {value!r}, process 0 has {theirs!r}; give all processes the same"
            )

    def check_same(self, config: Config) -> None:
        """Refuses a process that was started with another configuration than process 0.

        Raises:
          InputError: names the first field that differs.
        """
        theirs = from_dict(self.first_says(to_dict(config)))
        for name, (there, here) in differences(theirs, config).items():
            if name not in _OWN:
                raise InputError(
                    f"config.{name} is {here!r} in process {self.index} and {there!r} in process 0; "
                    "start all processes with the same command"
                )

    def lost_each_other(self) -> None:
        """A step failed in this process. If that is for another one's end, this says so and does not return."""
        self._watch.wait_for_verdict()

    def leave(self, status: int, why: str = "") -> None:
        """Ends this process with `status`; with the others, if it has done its part."""
        done = status in (EXIT_OK, EXIT_START_AGAIN)
        self._watch.end("" if done else why or f"status {status}")
        sys.stdout.flush(), sys.stderr.flush()
        if done:
            try:
                self._client.wait_at_barrier(f"{_STORE}/end", 2**31 - 1)
            except RuntimeError:
                pass  # this one has done its part
            self._watch.close()
            jax.distributed.shutdown()
        os._exit(
            status
        )  # what is left, of JAX and of the data's threads, would wait for processes that are gone


SINGLE_PROCESS = SingleProcess()


def tell(peers: SingleProcess | ProcessGroup, text: str) -> None:
    """A line on stderr, with the process's number where it is not the first."""
    prefix = "" if peers.first else f"process {peers.index}: "
    os.write(2, f"{prefix}{text}\n".encode())


def join(devices: Devices, mode: str) -> SingleProcess | ProcessGroup:
    """Meets the other processes of this run, if there are any; to be called before JAX looks for devices.

    Raises:
      InputError: the configuration does not say enough, or `mode` is not for several processes.
      RunStopped: not all of them came.
    """
    several = devices.processes > 1 or (devices.processes == 0 and _several(os.environ))
    if not (several or (mode == "train" and devices.processes == 0 and _on_tpu(os.environ))):
        return SINGLE_PROCESS
    if mode != "train":
        raise InputError(
            f"--mode={mode} runs in one process: start it once, on one host, with --config.devices.processes=1"
        )
    given = {
        "coordinator_address": devices.coordinator or None,
        "num_processes": devices.processes or None,
        "process_id": devices.process if devices.process >= 0 else None,
    }
    if None not in given.values():
        given["cluster_detection_method"] = "deactivate"
    elif not (_several(os.environ) or _on_tpu(os.environ)):
        raise InputError(
            f"config.devices.processes={devices.processes}, and no cluster says where they are: give "
            "config.devices.coordinator=HOST:PORT of process 0, and config.devices.process, from 0, to each"
        )
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=devices.timeout_s,
            heartbeat_timeout_seconds=2 * devices.timeout_s
            + 60,  # the watch is to speak first: it has names
            shutdown_timeout_seconds=60,
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the processes of this run cannot meet ({_gist(error)}); give config.devices.coordinator=HOST:PORT of "
            "process 0, config.devices.processes and config.devices.process"
        ) from error
    except RuntimeError as error:
        raise RunStopped(
            f"not all processes met at {devices.coordinator or 'the cluster'} within {devices.timeout_s} s "
            f"({_gist(error)}); start all of them again"
        ) from error
    if _number_of_processes() == 1:  # a Cloud TPU slice with one worker
        return SINGLE_PROCESS
    delay_abort()
    return ProcessGroup(devices.timeout_s)


def _number_of_processes() -> int:
    from jax._src.distributed import global_state

    return global_state.num_processes


def _several(environment: Mapping[str, str]) -> bool:
    """Whether the cluster's environment variables say that this process is one of several (those that JAX reads)."""
    slurm = "SLURM_STEP_NODELIST" in environment and int(environment.get("SLURM_NTASKS", 1)) > 1
    open_mpi = (
        "OMPI_MCA_orte_hnp_uri" in environment
        and int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    )
    hosts = (
        environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    )
    return slurm or open_mpi or (_chips(environment) and "," in hosts)


def _on_tpu(environment: Mapping[str, str]) -> bool:
    """Whether this is a Cloud TPU machine, where only metadata say how many workers there are: JAX asks for them."""
    return _chips(environment) and "TPU_SKIP_MDS_QUERY" not in environment


def _chips(environment: Mapping[str, str]) -> bool:
    # Set by `import jax` where there are TPU chips and their library, unless another platform is asked for.
    return environment.get("TPU_ML_PLATFORM") == "JAX" and "tpu" in (jax.config.jax_platforms or "")


def _gist(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."
