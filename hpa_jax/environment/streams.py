"""stdout and stderr that may go away: a pipe whose reader ends, a terminal that is closed.

A program of this project that has called `guard_streams` never fails because nobody reads what it
prints. What it prints from then on is dropped, and whoever has asked by `when_output_is_lost` is
told: training saves and stops, as on a signal. Other programs finish their work.
"""

import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any, TextIO

from hpa_jax.buckets.scratch import shown
from hpa_jax.errors import one_line

_DESCRIPTORS = {"stdout": 1, "stderr": 2}

# Why each stream that was lost cannot be written, by its name.
_lost: dict[str, str] = {}
_listener: Callable[[str], None] | None = None


def guard_streams() -> None:
    """Replaces sys.stdout and sys.stderr by streams that survive the loss of their reader.

    They also print what their encoding lacks as escapes: an Id or a path in Greek is no reason to
    fail in a terminal of ASCII.
    """
    _open_closed_descriptors()
    sys.stdout = _guarded("stdout", sys.stdout)
    sys.stderr = _guarded("stderr", sys.stderr)


def lost_output() -> str:
    """Which stream was lost and why: "stdout was closed (Broken pipe)"; empty if none was."""
    return next(iter(_lost.values()), "")


def when_output_is_lost(listener: Callable[[str], None] | None) -> None:
    """Has `listener` called with `lost_output()` as soon as a stream is lost, or at once.

    Args:
      listener: is called in the middle of a write, so it must not print; None: nobody is told.
    """
    global _listener
    _listener = listener
    if listener is not None and _lost:
        listener(lost_output())


def write_now(descriptor: int, text: str) -> None:
    """Writes past all buffers, for signal handlers and for a process that is about to end."""
    try:
        os.write(descriptor, text.encode(errors="backslashreplace"))
    except OSError:
        # Nobody reads it.
        pass


class _Stream(io.TextIOWrapper):
    """A stream that drops what is written once that has failed.

    The paths of local copies of what lies in buckets are written as the URLs that they stand for.

    Only whole calls are repeated here: a signal handler may raise an exception in the middle of
    Python code, and what a buffer had written by then it would write again.
    """

    def __init__(self, name: str, buffer: io.BufferedWriter, **options: Any):
        super().__init__(buffer, errors="backslashreplace", **options)
        self._name = name

    def write(self, text: str) -> int:
        try:
            return super().write(shown(text))
        except OSError as error:
            self._recover(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._recover(error)

    def _recover(self, error: OSError) -> None:
        while isinstance(error, BlockingIOError):
            # Another program has made the terminal non-blocking, and it is full for now.
            select.select([], [_DESCRIPTORS[self._name]], [])
            try:
                super().flush()
                return
            except OSError as another:
                error = another
        # What is left in the buffers goes there too, and what libraries print.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _DESCRIPTORS[self._name])
        os.close(null)
        super().flush()
        _lose(self._name, error)


def _lose(stream: str, error: OSError) -> None:
    _lost[stream] = f"{stream} was closed ({one_line(error)})"
    if not isinstance(error, BrokenPipeError):
        _lost[stream] = f"{stream} cannot be written ({one_line(error)})"
    if _listener is not None:
        _listener(_lost[stream])


def _guarded(name: str, stream: TextIO | None) -> TextIO:
    options = {"encoding": "utf-8", "line_buffering": True}
    if stream is not None:
        stream.flush()
        options["encoding"] = stream.encoding
        # Of PYTHONUNBUFFERED, where Python's own streams have no buffer as this one has.
        options["line_buffering"] = stream.line_buffering or stream.write_through
    file = io.FileIO(_DESCRIPTORS[name], "wb", closefd=False)
    return _Stream(name, io.BufferedWriter(file), **options)


def _open_closed_descriptors() -> None:
    """Points those of stdin, stdout and stderr that were closed at the start to /dev/null.

    The next file to be opened would get the number, and then be written by whatever prints.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
