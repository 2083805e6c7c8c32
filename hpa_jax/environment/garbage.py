"""Python's search for garbage in cycles, which a start does without.

Most of what imports and tracing make stays, and the collector looks through it again and again: a
twentieth of a start whose programs are compiled already.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator

_is_paused = threading.Event()


def pause_collection() -> None:
    """Until `resume_collection`."""
    if gc.isenabled():
        _is_paused.set()
        gc.disable()


def resume_collection() -> None:
    """Ends `pause_collection`; nothing changes where the collector was not paused by that.

    What there is by now, mostly code, is never looked through.
    """
    if _is_paused.is_set():
        _is_paused.clear()
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """For tracing, of which collecting garbage would take a quarter."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
