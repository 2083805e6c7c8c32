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
from typing import TextIO

from hpa_jax.errors import one_line

_STREAMS = {"stdout": 1, "stderr": 2}

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


class _Descriptor(io.FileIO):
    """A stream's file, which drops what is written once that has failed."""

    def __init__(self, name: str):
        super().__init__(_STREAMS[name], "wb", closefd=False)
        self._stream = name

    def write(self, data) -> int:
        while self._stream not in _lost:
            try:
                written = super().write(data)
            except OSError as error:
                _lose(self._stream, error)
                break
            if written is not None:
                return written
            # Another program has made the terminal non-blocking, and it is full for now.
            select.select([], [self], [])
        return len(data)


def _lose(stream: str, error: OSError) -> None:
    _lost[stream] = f"{stream} was closed ({one_line(error)})"
    if not isinstance(error, BrokenPipeError):
        _lost[stream] = f"{stream} cannot be written ({one_line(error)})"
    if _listener is not None:
        _listener(_lost[stream])


def _guarded(name: str, stream: TextIO | None) -> TextIO:
    encoding = "utf-8"
    line_buffering = True
    write_through = False
    if stream is not None:
        stream.flush()
        encoding = stream.encoding
        line_buffering = stream.line_buffering
        write_through = stream.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(name)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=write_through,
    )


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
