"""Joining the processes of a run: what is refused, what is not started (real ones: test_runs)."""

import errno
import json
import threading

import pytest

from hpa_jax.config import Config, Devices, check, to_dict
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.parallel.join import join_process_group
from hpa_jax.parallel.process_group import SINGLE_PROCESS, ProcessGroup, may_follow_from_a_loss

REFUSED = {
    "no coordinator": (
        Devices(processes=2, process=0),
        "train",
        "give config.devices.coordinator=HOST:PORT",
    ),
    "no number": (
        Devices(processes=2, coordinator="host:1"),
        "train",
        "and config.devices.process",
    ),
    "evaluating": (
        Devices(processes=2, process=0, coordinator="host:1"),
        "evaluate",
        "--mode=evaluate runs in one",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_processes_that_cannot_meet_are_refused_by_name(name):
    devices, mode, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        join_process_group(devices, mode)


def test_for_a_single_process_nothing_is_started():
    before = threading.active_count()
    assert join_process_group(Devices(), "train") is SINGLE_PROCESS
    assert join_process_group(Devices(processes=1), "train") is SINGLE_PROCESS
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "field, value", [("process", 2), ("process", -2), ("coordinator", "host"), ("timeout_s", 1)]
)
def test_values_out_of_range_are_refused_by_name(field, value):
    config = Config()
    config.devices.processes = 2
    setattr(config.devices, field, value)
    with pytest.raises(InputError, match=f"config.devices.{field}="):
        check(config)


def second_process(settings):
    """Process 1 of a group in which process 0 has these settings, without a store."""
    group = object.__new__(ProcessGroup)
    group.index = 1
    group.broadcast = lambda value: json.loads(json.dumps(settings))
    return group


def test_what_may_differ_between_processes_may_differ():
    first = Config()
    second = Config()
    second.devices.process = 1
    second.data.data_dir = "/elsewhere"
    second.data.threads = 8
    second_process(to_dict(first)).check_same_config(to_dict(second))


def test_another_setting_is_refused_by_name():
    second = Config()
    second.augment.scale = (0.5, 1.0)
    message = r"config.augment.scale is \[0.5, 1.0\] in process 1 and \[1.0, 1.0\] in process 0"
    with pytest.raises(InputError, match=message):
        second_process(to_dict(Config())).check_same_config(to_dict(second))


def test_both_single_and_several_processes_have_the_same_interface():
    def interface(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    attributes = {"index", "count", "is_primary"}
    assert interface(type(SINGLE_PROCESS)) == interface(ProcessGroup) | attributes


def from_cause(error, cause):
    """`error` as it is raised from `cause`."""
    error.__cause__ = cause
    return error


# As JAX and Orbax raise them where another process is gone, or something is wrong here.
BROKEN = RuntimeError("UNAVAILABLE: connection reset by peer")
TIMED_OUT = TimeoutError("Timed out while waiting for async_write_complete barrier.")
FULL = ValueError("RESOURCE_EXHAUSTED: write: No space left on device [OS error 28: ENOSPC]")
OF_A_LOSS = {
    BROKEN: True,
    TIMED_OUT: True,
    from_cause(RunStopped("a checkpoint could not be written"), TIMED_OUT): True,
    from_cause(InputError("a checkpoint cannot be read"), BROKEN): True,
    OSError(errno.ENOSPC, "No space left on device"): False,
    OSError(errno.EIO, "Input/output error"): False,
    TimeoutError(errno.ETIMEDOUT, "Connection timed out"): False,
    from_cause(RunStopped("a checkpoint could not be written"), FULL): False,
    from_cause(RuntimeError("a thread failed"), FULL): False,
    RunStopped("the loss was not finite"): False,
    InputError("no such dataset"): False,
}


@pytest.mark.parametrize("error", OF_A_LOSS, ids=repr)
def test_errors_that_may_only_say_that_another_process_is_gone(error):
    assert may_follow_from_a_loss(error) == OF_A_LOSS[error]
