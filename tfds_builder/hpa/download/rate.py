"""Lets requests through at a rate, all threads together, and holds all of them back when the host asks for it."""

import threading
import time

from tfds_builder.hpa.download.workers import Stopped


class Turns:
    """Lets requests through at a rate (a second, over all threads), and holds all of them back when asked to."""

    def __init__(self, rate: float, stop: threading.Event):
        self.stop = stop
        self._gap, self._lock = 1 / rate, threading.Lock()
        self._next = self._held_until = 0.0

    def wait(self) -> None:
        """Returns when it is the caller's turn; raises Stopped when all is to end."""
        while True:
            with self._lock:
                at = max(time.monotonic(), self._next)
                self._next = at + self._gap
            self.sleep(at - time.monotonic())
            if (
                at >= self._held_until
            ):  # else held back while waiting: a new turn, so that all do not rush in at once
                return

    def hold(self, seconds: float) -> None:
        """Nobody gets a turn for so long."""
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)
            self._next = max(self._next, self._held_until)

    def sleep(self, seconds: float) -> None:
        """Sleeps; raises Stopped when all is to end."""
        if self.stop.wait(max(0.0, seconds)):
            raise Stopped
