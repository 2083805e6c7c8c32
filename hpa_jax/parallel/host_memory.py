"""How much memory this process may still take on its host. No JAX.

Several things bound it, and the tightest one counts: the memory of the machine, the control groups
that the process is in (containers and job schedulers use them, in two versions), and its own limits
(`ulimit -v`, `ulimit -d`). What the system would give back when asked, such as cached files, counts
as free, and so does swap: a number that is too high refuses nothing that might have worked.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_UNLIMITED = 2**60
"""Bytes from which on a limit of a control group is none."""

_LIMITS = (
    (resource.RLIMIT_AS, "VmSize", "ulimit -v"),
    (resource.RLIMIT_DATA, "VmData", "ulimit -d"),
)


class Room(NamedTuple):
    """Memory that may still be taken.

    Attributes:
      bytes: 0 or more.
      where: what bounds it, for messages: "on this machine".
    """

    bytes: int
    where: str


def host_room(root: Path = Path("/")) -> Room | None:
    """The memory that this process may still take on its host; None where nothing says so.

    Args:
      root: where `proc` and `sys` are.
    """
    rooms = [*_machine(root), *_control_groups(root), *_own_limits(root)]
    return min(rooms, default=None)


def _machine(root: Path) -> Iterator[Room]:
    memory = _table(root / "proc/meminfo", unit=1024)
    if "MemAvailable" in memory:
        free = memory["MemAvailable"] + memory.get("SwapFree", 0)
        yield Room(free, "on this machine")
        return
    # Not Linux: of all that the machine has, how much is free is not known.
    names = os.sysconf_names
    if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if total > 0:
            yield Room(total, "on this machine")


def _own_limits(root: Path) -> Iterator[Room]:
    used = _table(root / "proc/self/status", unit=1024)
    for limit, name, command in _LIMITS:
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY:
            yield Room(max(0, most - used.get(name, 0)), f"of {command}")


def _control_groups(root: Path) -> Iterator[Room]:
    """Of each control group that bounds this process, those around it included."""
    free_swap = _table(root / "proc/meminfo", unit=1024).get("SwapFree", 0)
    for controllers, path in _memberships(root):
        if controllers == "":
            room_of = _room_of_version_2
        elif "memory" in controllers.split(","):
            room_of = _room_of_version_1
        else:
            continue
        for folder in _folders(root, controllers, path):
            room = room_of(folder, free_swap)
            if room is not None:
                yield Room(
                    max(0, room), "of the memory limit of its control group (container, job)"
                )


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """Controllers (none in version 2) and path of each control group of this process."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        yield controllers, path


def _folders(root: Path, controllers: str, path: str) -> Iterator[Path]:
    """The folders of a control group and of those around it, as far as they can be seen."""
    for line in _lines(root / "proc/self/mountinfo"):
        # As proc_pid_mountinfo(5) has it: fields, a dash, type, device, options.
        before, _, after = line.partition(" - ")
        fields = before.split()
        kind, _, options = after.split(maxsplit=2)
        is_version_2 = controllers == "" and kind == "cgroup2"
        is_memory = "memory" in options.split(",")
        is_version_1 = controllers != "" and kind == "cgroup" and is_memory
        if not (is_version_1 or is_version_2):
            continue
        top = PurePosixPath(path)
        mounted = root / fields[4].lstrip("/")
        within = PurePosixPath("/")
        # In a container the mount may show this group alone, under its own root.
        if top.is_relative_to(fields[3]):
            within = "/" / top.relative_to(fields[3])
        for group in (within, *within.parents):
            yield mounted / str(group).lstrip("/")


def _room_of_version_2(folder: Path, free_swap: int) -> int | None:
    most = _number(folder / "memory.max")
    used = _number(folder / "memory.current")
    if most is None or used is None:
        return None
    cached = _table(folder / "memory.stat", unit=1)
    room = most - used + _cached(cached, "")
    swap = free_swap
    most_swap = _number(folder / "memory.swap.max")
    if most_swap is not None:
        used_swap = _number(folder / "memory.swap.current") or 0
        swap = min(swap, max(0, most_swap - used_swap))
    return room + swap


def _room_of_version_1(folder: Path, free_swap: int) -> int | None:
    most = _number(folder / "memory.limit_in_bytes")
    used = _number(folder / "memory.usage_in_bytes")
    if most is None or used is None:
        return None
    cached = _cached(_table(folder / "memory.stat", unit=1), "total_")
    room = most - used + cached + free_swap
    most_with_swap = _number(folder / "memory.memsw.limit_in_bytes")
    used_with_swap = _number(folder / "memory.memsw.usage_in_bytes")
    if most_with_swap is not None and used_with_swap is not None:
        room = min(room, most_with_swap - used_with_swap + cached)
    return room


def _cached(statistics: dict[str, int], prefix: str) -> int:
    """Bytes of cached files."""
    names = (f"{prefix}active_file", f"{prefix}inactive_file")
    return sum(statistics.get(name, 0) for name in names)


def _number(path: Path) -> int | None:
    """The limit or count in a file of a control group; None where there is none."""
    lines = _lines(path)
    if not lines or not lines[0].isdigit():
        return None  # "max"
    number = int(lines[0])
    return number if number < _UNLIMITED else None


def _table(path: Path, *, unit: int) -> dict[str, int]:
    """The numbers of a file of lines such as `MemAvailable:  20126216 kB`."""
    table = {}
    for line in _lines(path):
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdigit():
            table[words[0]] = int(words[1]) * unit
    return table


def _lines(path: Path) -> list[str]:
    """The lines of a file; none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
