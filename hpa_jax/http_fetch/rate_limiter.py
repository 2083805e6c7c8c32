"""When a request may be sent: the pace of all threads together, and pauses of all of them."""

import math
import threading
import time

from hpa_jax.http_fetch.outcome import Stopped


class RateLimiter:
    """Spaces the requests of all threads that share it, and pauses all of them.

    Attributes:
      stop: ends every wait with `Stopped` once it is set.
    """

    def __init__(self, rate: float = math.inf, stop: threading.Event | None = None):
        """`rate` is in requests per second."""
        self.stop = stop or threading.Event()
        self._interval = 1 / rate
        self._lock = threading.Lock()
        self._next = 0.0
        self._paused_until = 0.0

    def acquire(self) -> None:
        """Returns when the caller may send its request."""
        while True:
            with self._lock:
                slot = max(time.monotonic(), self._next)
                self._next = slot + self._interval
            self.sleep(slot - time.monotonic())
            # A pause that began meanwhile: take a new slot, or all threads would rush in after it.
            if slot >= self._paused_until:
                return

    def pause(self, seconds: float) -> None:
        """Lets no request through for so long."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
            self._next = max(self._next, self._paused_until)

    def sleep(self, seconds: float) -> None:
        """Sleeps, unless `stop` is set."""
        if self.stop.wait(max(0.0, seconds)):
            raise Stopped
