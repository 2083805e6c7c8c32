"""Memory that is left on the host: the machine's, of control groups of both versions, of ulimit."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpa_jax.parallel.host_memory import host_room

GB = 10**9
MEMINFO = "MemTotal:  30000000 kB\nMemAvailable:  20000000 kB\nSwapFree:  1000000 kB\n"
MACHINE = 21_000_000 * 1024
IN_GROUP = "of the memory limit of its control group (container, job)"


@pytest.fixture
def system(tmp_path):
    """Writes the files of a system under a root of its own; returns `host_room` of it."""

    def make(files: dict[str, object]):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return host_room(tmp_path)

    return make


def version_2(path, mount="/", **groups):
    """A system with control groups of version 2."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": f"0::{path}",
        "proc/self/mountinfo": f"30 20 0:26 {mount} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw",
    }
    for group, values in groups.items():
        for name, value in values.items():
            folder = "sys/fs/cgroup/" + ("" if group == "top" else group.replace("_", "/") + "/")
            files[f"{folder}memory.{name}"] = value
    return files


def test_a_machine_without_groups_has_what_is_available_and_swap(system):
    room = system({"proc/meminfo": MEMINFO})
    assert room == (MACHINE, "on this machine")


def test_a_group_without_a_limit_bounds_nothing(system):
    room = system(version_2("/job", job={"max": "max", "current": 5 * GB}))
    assert room.where == "on this machine"


def test_the_limit_of_a_group_counts_less_what_it_uses_and_cannot_give_back(system):
    group = {"max": 8 * GB, "current": 5 * GB, "swap.max": 0}
    group["stat"] = f"anon {4 * GB}\nactive_file {GB // 2}\ninactive_file {GB // 2}"
    assert system(version_2("/job", job=group)) == (4 * GB, IN_GROUP)


def test_a_group_may_swap_as_far_as_there_is_swap(system):
    group = {"max": 8 * GB, "current": 5 * GB, "swap.max": GB // 2, "swap.current": GB // 4}
    assert system(version_2("/job", job=group)) == (3 * GB + GB // 4, IN_GROUP)
    group["swap.max"] = "max"
    assert system(version_2("/job", job=group)).bytes == 3 * GB + 1_000_000 * 1024


def test_the_tightest_of_the_groups_around_counts(system):
    inner = {"max": 9 * GB, "current": GB, "swap.max": 0}
    outer = {"max": 4 * GB, "current": 3 * GB, "swap.max": 0}
    assert system(version_2("/job/step", job=outer, job_step=inner)) == (GB, IN_GROUP)


def test_in_a_container_the_group_is_the_top_of_what_is_mounted(system):
    top = {"max": 4 * GB, "current": 3 * GB, "swap.max": 0}
    assert system(version_2("/docker/1", mount="/docker/1", top=top)) == (GB, IN_GROUP)
    assert system(version_2("/", mount="/", top=top)) == (GB, IN_GROUP)


def test_more_than_the_limit_in_use_leaves_nothing(system):
    assert system(version_2("/", top={"max": GB, "current": 2 * GB, "swap.max": 0})).bytes == 0


def test_groups_of_version_1(system):
    folder = "sys/fs/cgroup/memory/job/memory."
    mounts = (
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "34 31 0:31 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"
    )
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/job\n1:cpu:/elsewhere\n0::/",
        "proc/self/mountinfo": mounts,
        f"{folder}limit_in_bytes": 6 * GB,
        f"{folder}usage_in_bytes": 5 * GB,
        f"{folder}stat": f"cache 7\ntotal_active_file {GB}\ntotal_inactive_file {GB}",
        f"{folder}memsw.limit_in_bytes": 6 * GB,
        f"{folder}memsw.usage_in_bytes": 5 * GB,
        # As it is where nothing was set.
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 9 * GB,
    }
    assert system(files) == (3 * GB, IN_GROUP)


def test_a_system_without_proc_says_what_the_machine_has(tmp_path):
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert host_room(tmp_path) == (total, "on this machine")


SHOW = "from hpa_jax.parallel.host_memory import host_room; print(*host_room())"


@pytest.mark.parametrize("limit", ["ulimit -v", "ulimit -d"])
def test_a_limit_of_the_shell_counts_less_what_the_process_has(limit):
    command = ["bash", "-c", f'{limit} 1000000 && exec "$@"', "bash", sys.executable, "-c", SHOW]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, _, where = done.stdout.strip().partition(" ")
    assert where == f"of {limit}"
    assert 0 < int(size) < 1_000_000 * 1024


@contextlib.contextmanager
def control_group(limit: int):
    """A control group of version 1 in which a process may have `limit` bytes."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            folder = Path(f"/sys/fs/cgroup/memory{path}/test_{os.getpid()}")
            break
    else:
        pytest.skip("control groups of version 1 are not mounted")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        yield folder
    finally:
        folder.rmdir()


def test_a_real_control_group_bounds_the_process_in_it():
    with control_group(limit=200_000_000) as folder:
        enter = f'echo $$ >{folder}/cgroup.procs && exec "$@"'
        command = ["bash", "-c", enter, "bash", sys.executable, "-c", SHOW]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, _, where = done.stdout.strip().partition(" ")
    assert where == IN_GROUP
    assert 100_000_000 < int(size) <= 200_000_000
