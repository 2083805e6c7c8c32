"""Memory in huge pages, for programs that compute on the CPU.

XLA maps the temporaries of a step anew at every step, and the kernel then has to find, clear and
map each of their pages of 4 KiB: a fifth of a training step's time. glibc's allocator can ask
for pages of 2 MiB in their place, if the environment says so before the process starts (GNU C
library manual, Memory Allocation Tunables: glibc.malloc.hugetlb=1). So a program that was not
started that way starts itself once more.

HPA_HUGE_PAGES=0 leaves all of this alone. What each of the checks below costs, or spares, is in
docs/results.md (Speed on two cores).
"""

import contextlib
import ctypes
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from hpa_jax.environment.early_signals import STOP_SIGNALS

SWITCH = "HPA_HUGE_PAGES"
"""Environment variable; 0 switches huge pages off."""

TUNABLES = "GLIBC_TUNABLES"
HUGE = "glibc.malloc.hugetlb=1"

# What TUNABLES was before this program started itself once more; it is there in that start alone.
_BEFORE = "HPA_HUGE_PAGES_BEFORE"

_OFFERED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_OWN_ENVIRONMENT = Path("/proc/self/environ")
_OWN_STATUS = Path("/proc/self/status")

# The first version of glibc that knows the tunable.
_GLIBC = (2, 35)

# Packages that give JAX devices other than the CPU.
_PLUGINS = ("jax_plugins", "libtpu")

# Modules of debuggers that are told of every line in another way than sys.settrace.
_DEBUGGERS = ("pydevd", "debugpy", "pdb", "coverage")

# Of Linux (linux/prctl.h).
_PR_SET_THP_DISABLE = 41
_PR_GET_THP_DISABLE = 42


def restart(module: str) -> None:
    """Starts this program once more, with huge pages, where they can be had and are of use.

    To be called first of all: what has been done is done again. Returns where nothing is to be
    changed, and in the start that has them.

    Args:
      module: the name under which the program is run, `python -m MODULE`.
    """
    if _BEFORE in os.environ:
        # Processes that this one starts have the environment that it was given.
        _set(os.environ, TUNABLES, os.environ.pop(_BEFORE))
        # Blocked by the start before this one, so that none falls between the two.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return
    if is_on():
        _set(os.environ, TUNABLES, without_huge(os.environ.get(TUNABLES, "")))
        return
    if not may_restart(module):
        return
    environment = dict(os.environ)
    before = environment.get(TUNABLES, "")
    environment[_BEFORE] = before
    environment[TUNABLES] = f"{before}:{HUGE}" if before else HUGE
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        command = [sys.executable, *sys.orig_argv[1:]]
        # Its own command line, once more.
        os.execve(sys.executable, command, environment)  # nosec B606
    except OSError:
        # The interpreter is gone, or there are too many arguments: then without.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def may_restart(module: str) -> bool:
    """Whether this program can be started again with huge pages, and nobody minds.

    A debugger, a profiler or a tool that measures coverage would lose the process.
    """
    is_chosen_already = "glibc.malloc.hugetlb=" in os.environ.get(TUNABLES, "")
    return (
        is_offered()
        and not is_switched_off()
        and not is_chosen_already
        and begun_as_module(module, sys.orig_argv, sys.argv)
        and computes_on_cpu(os.environ)
        and not is_watched()
    )


def is_switched_off() -> bool:
    """Whether the user wants none."""
    return os.environ.get(SWITCH) == "0"


def is_offered() -> bool:
    """Whether this kernel gives huge pages to those who ask, and this glibc can ask."""
    try:
        chosen = re.search(r"\[(\w+)\]", _OFFERED.read_text(encoding="utf-8"))
    except OSError:
        return False
    return chosen is not None and chosen[1] != "never" and _glibc_version() >= _GLIBC


def is_on() -> bool:
    """Whether the allocator of this process asks for huge pages: it was started that way."""
    try:
        started = _OWN_ENVIRONMENT.read_bytes()
    except OSError:
        return False
    # glibc before 2.38 ends each of several tunables with a zero where the colon was.
    words = started.replace(b"\0", b":").split(b":")
    named = HUGE.encode() in words or f"{TUNABLES}={HUGE}".encode() in words
    return named and is_offered()


def notes() -> list[str]:
    """A line for the log of a program that computes on the CPU, where there is something to say."""
    if is_on():
        return [f"memory in huge pages ({SWITCH}=0: in small ones)"]
    if is_offered() and not is_switched_off():
        return [
            f"this CPU trains faster with memory in huge pages: set {TUNABLES}={HUGE} before "
            f"Python starts, as python -m hpa_jax.main does ({SWITCH}=0: no such line)"
        ]
    return []


def turn_off() -> bool:
    """Has the kernel give this process small pages from now on; returns whether that is new.

    What is in huge pages already stays there. Huge pages take more memory than small ones, since
    each is there in full.
    """
    if not is_on():
        return False
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return False
    if prctl(_PR_GET_THP_DISABLE, 0, 0, 0, 0):
        return False
    return prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0


def begun_as_module(module: str, command: Sequence[str], arguments: Sequence[str]) -> bool:
    """Whether a command line is `python [OPTION..] -m MODULE ARG..`.

    Args:
      module: its name.
      command: sys.orig_argv.
      arguments: sys.argv.
    """
    before = len(command) - len(arguments[1:])
    return list(command[before - 2 : before]) == ["-m", module]


def computes_on_cpu(environment: Mapping[str, str]) -> bool:
    """Whether JAX will use the CPU, by what it is told and what is installed."""
    asked = environment.get("JAX_PLATFORMS") or environment.get("JAX_PLATFORM_NAME")
    if asked:
        return asked.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in _PLUGINS)


def is_watched() -> bool:
    """Whether a debugger, a profiler or a tool that measures coverage is at work here."""
    if sys.gettrace() or sys.getprofile():
        return True
    # From Python 3.12 on; tools are numbered from 0 to 5.
    if hasattr(sys, "monitoring"):
        if any(sys.monitoring.get_tool(number) for number in range(6)):
            return True
    if any(name in sys.modules for name in _DEBUGGERS) or "COVERAGE_PROCESS_START" in os.environ:
        return True
    with contextlib.suppress(OSError):
        traced = re.search(r"^TracerPid:\s*(\d+)", _OWN_STATUS.read_text(encoding="utf-8"), re.M)
        return traced is not None and traced[1] != "0"
    return False


def without_huge(tunables: str) -> str:
    """GLIBC_TUNABLES less HUGE."""
    kept = [tunable for tunable in tunables.split(":") if tunable and tunable != HUGE]
    return ":".join(kept)


def _set(environment: MutableMapping[str, str], name: str, value: str) -> None:
    if value:
        environment[name] = value
    else:
        environment.pop(name, None)


def _glibc_version() -> tuple[int, ...]:
    """(0,) where the C library is another one."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return tuple(int(part) for part in version.split(".")) if name == "glibc" else (0,)
    except (AttributeError, ValueError, OSError):
        return (0,)
