"""Keeps what C libraries write to stderr out of the way."""

import os
import threading

_STDERR = 2


class QuietStderr:
    """A context manager that discards what is written to file descriptor 2.

    libpng, libtiff and OpenCV write lines of their own where pixel data contradict a valid header.
    The descriptor belongs to the whole process, so of several threads the first turns it off and
    the last turns it on again.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._threads = 0
        self._saved = -1

    def __enter__(self) -> None:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                self._saved = os.dup(_STDERR)
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, _STDERR)
                os.close(null)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                os.dup2(self._saved, _STDERR)
                os.close(self._saved)


quiet_stderr = QuietStderr()
"""Of this process."""
