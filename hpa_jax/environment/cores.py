"""How many CPU cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_PROCESS = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """The cores that this process may run on, and no more than its quota gives time for.

    A container with two cores' worth of time on a machine of 64 sees all 64: as many threads would
    spend most of that time waiting for each other.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, math.floor(min(count, cpu_quota())))


def cpu_quota(process: Path = _PROCESS, mounted: Path = _MOUNTED) -> float:
    """The cores' worth of time that control groups allow this process; infinity for no limit.

    Args:
      process: the file that says which groups it is in.
      mounted: where the groups are.
    """
    least = math.inf
    for folder in _groups(process, mounted):
        for quota, period in (_version_2(folder), _version_1(folder)):
            if quota > 0 and period > 0:
                least = min(least, quota / period)
    return least


def _groups(process: Path, mounted: Path) -> Iterator[Path]:
    """The folders of the groups and of those above them: each may have a limit."""
    try:
        lines = process.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        columns = line.split(":", 2)
        if len(columns) < 3:
            continue
        _, controllers, path = columns
        if not controllers:
            # Version 2; beside version 1 it has a folder of its own.
            roots = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        group = Path(path.lstrip("/"))
        for root in roots:
            # In a container, the path may be one of the machine outside: then the root has it.
            for part in (group, *group.parents):
                yield root / part


def _version_2(folder: Path) -> tuple[float, float]:
    """Quota and period: `150000 100000`, or `max 100000`."""
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return _number(quota), _number(period)


def _version_1(folder: Path) -> tuple[float, float]:
    """Quota, -1 for none, and period."""
    quota = _text(folder / "cpu.cfs_quota_us")
    period = _text(folder / "cpu.cfs_period_us")
    return _number(quota), _number(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0
