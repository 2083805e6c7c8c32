"""Which process a file or an object says that it belongs to, and whether that one is gone."""

import os
import socket
from typing import Any


def this_process() -> dict[str, Any]:
    """`{"host", "process", "process_space"}` of this process, for `is_gone` on any machine."""
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "process_space": _process_space(),
    }


def is_gone(owner: dict[str, Any]) -> bool:
    """Whether the owner ran on this machine, and does not any more.

    Args:
      owner: what `this_process` has said there; other and damaged entries are of no harm.
    """
    here = (socket.gethostname(), _process_space())
    if (owner.get("host"), owner.get("process_space")) != here:
        return False
    process = owner.get("process")
    if type(process) is not int or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _process_space() -> str:
    """Tells containers with process numbers of their own apart; empty where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
