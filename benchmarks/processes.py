"""Measuring in processes of their own, and what a process has used of time and memory.

Each side of a comparison starts fresh: no library's threads or memory pools are shared.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path


def call_again(script: str, *flags: str) -> dict:
    """Runs a benchmark as a process of its own.

    Args:
      script: the `__file__` of the caller.
      flags: that make it print a JSON object as its last line.

    Returns:
      That object. What it writes to stderr is shown.
    """
    command = [sys.executable, script, *flags]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def cpu_seconds_of(pid: int) -> float | None:
    """CPU seconds of a running process, all its threads; None if /proc does not have it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # The name of the program, in parentheses, may hold spaces. Of the columns after it, these are
    # the ticks in user mode and in the kernel.
    columns = stat.rpartition(")")[2].split()
    ticks = int(columns[11]) + int(columns[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_seconds(who: int) -> float:
    """CPU seconds of this process or of its children that have ended: a `resource.RUSAGE_*`."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def memory_bytes(pid: int, key: str) -> int | None:
    """Memory of a running process; None if /proc does not have it.

    Args:
      pid: of the process.
      key: of /proc/PID/status: VmRSS is resident memory now, VmHWM its peak.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    kilobytes = status.partition(f"{key}:")[2].split()[0]
    return 1024 * int(kilobytes)


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
