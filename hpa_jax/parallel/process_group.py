"""The processes of one run, on one host or several: what they tell each other and agree on.

They meet in `hpa_jax.parallel.join`. They exchange small values through the key-value store of
`jax.distributed`'s client, which JAX keeps private; hence the pinned version.
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hpa_jax.environment.streams import write_now
from hpa_jax.errors import (
    EXIT_OK,
    EXIT_START_AGAIN,
    InputError,
    is_out_of_space,
)
from hpa_jax.parallel.watchdog import Watchdog

_KEY = "hpa_jax"
"""Prefix of this package's keys in the store."""

_FOREVER_MS = 2**31 - 1
"""For waits that the watchdog bounds."""

_PER_PROCESS = ("devices.process", "data.data_dir", "data.threads")
"""Settings that may differ between processes."""


class SingleProcess:
    """The one process of a run: the interface of ProcessGroup, at no cost.

    Attributes:
      index: 0.
      count: 1.
      is_primary: True.
      stop_requested_by: ''.
    """

    index = 0
    count = 1
    is_primary = True
    stop_requested_by = ""

    def report_progress(self, where: str, *, slow: bool = False) -> bool:
        return False

    def report_activity(self, where: str) -> None:
        pass

    def request_stop(self, signal_name: str) -> None:
        pass

    def broadcast(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def collect(self, name: str, value: Any) -> list[Any] | None:
        return [value]

    def meet(self, name: str) -> None:
        pass

    def barrier(self, where: str) -> None:
        pass

    def check_equal(self, what: str, value: Any) -> None:
        pass

    def check_same_config(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        pass

    def watch_work(self, failure: Callable[[], str]) -> None:
        pass

    def give_way(self, error: BaseException) -> None:
        pass

    def leave(self, status: int, reason: str = "") -> None:
        pass


class ProcessGroup:
    """This process as one of several that have met.

    Every process calls `report_progress`, `broadcast`, `gather`, `barrier` and the checks in the
    same order.

    Args:
      timeout_s: seconds that the processes wait for one that does not get on, see Watchdog.

    Attributes:
      index: of this process, from 0.
      count: of processes.
      is_primary: whether this is the process that writes what only one may write.
    """

    def __init__(self, timeout_s: float):
        from jax._src.distributed import global_state

        self.index = global_state.process_id
        self.count = global_state.num_processes
        self.is_primary = self.index == 0
        self._client = global_state.client
        self._broadcasts = 0
        self._barriers = 0
        self._gathers = 0
        self._watchdog = Watchdog(
            self.index,
            self.count,
            host=socket.gethostname(),
            exchange=self._exchange_reports,
            timeout_s=timeout_s,
            log=self._log_error,
        )
        self._watchdog.name_hosts(self.gather(socket.gethostname()))

    def report_progress(self, where: str, *, slow: bool = False) -> bool:
        """Passes a milestone; returns whether the run is to stop here, the same in all processes.

        Args:
          where: what comes next, for messages.
          slow: whether that may take long.
        """
        return self._watchdog.report_progress(where, slow=slow)

    def report_activity(self, where: str) -> None:
        """Reports what this process alone is doing, which may take long."""
        self._watchdog.report_activity(where)

    def request_stop(self, signal_name: str) -> None:
        """Asks all processes to stop; a signal handler may call it."""
        self._watchdog.request_stop(signal_name)

    @property
    def stop_requested_by(self) -> str:
        """By which signal to which process the run was asked to stop, or ''."""
        return self._watchdog.stop_requested_by

    def broadcast(self, value: Any) -> Any:
        """Returns process 0's value in every process.

        Args:
          value: what JSON can hold; that of the other processes is ignored.
        """
        self._broadcasts += 1
        self.report_progress("a broadcast of process 0")
        key = f"{_KEY}/broadcast/{self._broadcasts}"
        if self.is_primary:
            self._client.key_value_set(key, json.dumps(value))
            return value
        return self._get(key)

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all processes, in their order, in every process.

        Args:
          value: what JSON can hold.
        """
        self._gathers += 1
        self.report_progress("the others' answers", slow=True)
        folder = f"{_KEY}/gather/{self._gathers}"
        self._client.key_value_set(f"{folder}/{self.index}", json.dumps(value))
        return [self._get(f"{folder}/{index}") for index in range(self.count)]

    def collect(self, name: str, value: Any) -> list[Any] | None:
        """Returns the values of all processes in process 0, None in the others.

        No milestone: it may be called in a thread in the background, while the loop goes on. The
        watchdog bounds the waiting.

        Args:
          name: what is collected, another one each time.
          value: what JSON can hold.
        """
        folder = f"{_KEY}/collect/{name}"
        if not self.is_primary:
            self._client.key_value_set(f"{folder}/{self.index}", json.dumps(value))
            return None
        values = [value]
        for index in range(1, self.count):
            values.append(self._get(f"{folder}/{index}"))
            # They are read once, and there may be thousands.
            self._client.key_value_delete(f"{folder}/{index}")
        return values

    def meet(self, name: str) -> None:
        """Waits for all processes, in a thread in the background as well.

        No milestone, as `collect`. The watchdog bounds the waiting.

        Args:
          name: of this meeting, another one each time.
        """
        self._client.wait_at_barrier(f"{_KEY}/meeting/{name}", _FOREVER_MS)

    def _get(self, key: str) -> Any:
        return json.loads(self._client.blocking_key_value_get(key, _FOREVER_MS))

    def barrier(self, where: str) -> None:
        """Waits for all processes, then for all their devices.

        Afterwards the first collective of a step starts on all devices at about the same time: on
        CPUs they wait 30 s for each other and no longer.
        """
        self._barriers += 1
        self.report_progress(where, slow=True)
        self._client.wait_at_barrier(f"{_KEY}/barrier/{self._barriers}", _FOREVER_MS)
        devices = Mesh(jax.devices(), "all")
        sharded = NamedSharding(devices, P("all"))
        replicated = NamedSharding(devices, P())
        ones = np.ones(jax.local_device_count(), np.float32)
        values = jax.make_array_from_process_local_data(sharded, ones)
        jax.block_until_ready(jax.jit(jnp.sum, out_shardings=replicated)(values))

    def check_equal(self, what: str, value: Any) -> None:
        """Refuses a process that has another value (JSON) than process 0.

        Raises:
          InputError: names both values.
        """
        expected = self.broadcast(value)
        if value != expected:
            raise InputError(
                f"{what}: process {self.index} has {value!r}, process 0 has {expected!r}; "
                "give all processes the same"
            )

    def check_same_config(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuses a process that was started with other settings than process 0.

        Args:
          settings: the configuration as `hpa_jax.config.to_dict` returns it, by section and name.

        Raises:
          InputError: names the first setting that differs.
        """
        expected = self.broadcast(settings)
        for section, values in settings.items():
            for name, value in values.items():
                setting = f"{section}.{name}"
                other = expected.get(section, {}).get(name)
                if value != other and setting not in _PER_PROCESS:
                    raise InputError(
                        f"config.{setting} is {value!r} in process {self.index} and {other!r} "
                        "in process 0; start all processes with the same command"
                    )

    def watch_work(self, failure: Callable[[], str]) -> None:
        """Ends the run, in all processes, as soon as work in the background has failed.

        For work that the main threads of all processes wait for, such as a save: one that fails
        may never come to say so.

        Args:
          failure: returns why the run has to stop, or ''; called from another thread twice a
            second. It must not wait.
        """
        self._watchdog.watch_work(failure)

    def give_way(self, error: BaseException) -> None:
        """Waits for the watchdog where it knows a better reason to stop than `error`.

        To be called before the error is reported. Where another process is gone, or work in the
        background has failed before, the watchdog says so and ends this process: this does not
        return.
        """
        if self._watchdog.is_ending or may_follow_from_a_loss(error):
            self._watchdog.wait_for_verdict()

    def leave(self, status: int, reason: str = "") -> None:
        """Ends this process; with the others, if it has done its part.

        Args:
          status: of the exit.
          reason: for the others, if this process has not done its part.
        """
        is_done = status in (EXIT_OK, EXIT_START_AGAIN)
        self._watchdog.end("" if is_done else reason or f"status {status}")
        sys.stdout.flush()
        sys.stderr.flush()
        if is_done:
            try:
                self._client.wait_at_barrier(f"{_KEY}/end", _FOREVER_MS)
            except RuntimeError:
                # Another process is gone, but this one has done its part.
                pass
            self._watchdog.close()
            jax.distributed.shutdown()
        # Not sys.exit: threads of JAX and of the loader would wait for processes that are gone.
        os._exit(status)

    def _exchange_reports(self, line: str) -> dict[int, str]:
        folder = f"{_KEY}/reports/"
        self._client.key_value_set(f"{folder}{self.index}", line, allow_overwrite=True)
        lines = {}
        for key, text in self._client.key_value_dir_get(folder):
            lines[int(key.rpartition("/")[2])] = text
        return lines

    def _log_error(self, message: str) -> None:
        prefix = "" if self.is_primary else f"process {self.index}: "
        # In one write, past Python's buffers: the process may end right after.
        write_now(2, f"{prefix}{message}\n")


SINGLE_PROCESS = SingleProcess()


def may_follow_from_a_loss(error: BaseException) -> bool:
    """Whether an error may only say that another process is gone.

    Where a connection breaks, JAX raises a RuntimeError; where a barrier does, Orbax puts a
    TimeoutError without a number in its place. What the operating system says is about this
    process.
    """
    if is_out_of_space(error):
        return False
    while error is not None:
        is_timeout = isinstance(error, TimeoutError) and error.errno is None
        if is_timeout or isinstance(error, RuntimeError):
            return True
        error = error.__cause__
    return False
