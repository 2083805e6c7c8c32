"""An attempt that takes too long is ended from outside, by shutting its socket down."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from requests.adapters import HTTPAdapter

from hpa_jax.http_fetch.policy import Policy


class Deadline:
    """Aborts an attempt whose time is over, from a thread of its own.

    Attributes:
      received: bytes of the current period of `timeout` seconds; the attempt adds to it.
      expired: whether the attempt was aborted.
    """

    def __init__(self, policy: Policy, abort: Callable[[], None]):
        self.received = 0
        self.expired = False
        self._policy = policy
        self._abort = abort
        self._cancelled = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def cancel(self) -> None:
        """Lets the attempt be: it has ended."""
        self._cancelled.set()

    def _watch(self) -> None:
        timeout = self._policy.timeout
        while not self._cancelled.wait(timeout):
            if self.received < self._policy.min_rate * timeout:
                break
            self.received = 0
        else:
            return
        self.expired = True
        # Repeatedly: the attempt may only be about to connect.
        while not self._cancelled.wait(0.25):
            self._abort()


class TrackingAdapter(HTTPAdapter):
    """Knows the socket in use, which http.client itself forgets at `Connection: close`."""

    def __init__(self):
        self.socket: Any = None
        super().__init__(pool_connections=4, pool_maxsize=1)

    def shut_down_socket(self) -> None:
        """Ends what the socket is waiting for; may be called from any thread."""
        sock = self.socket
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # The plain socket's method: that of TLS would first wait for the other side.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _TrackedConnection):
            bases = (_TrackedConnection, pool.ConnectionCls)
            pool.ConnectionCls = type("TrackedConnection", bases, {"adapter": self})
        return pool


class _TrackedConnection:
    """Mixed into urllib3's connections: shows the socket to the adapter."""

    def connect(self) -> None:
        super().connect()
        self.adapter.socket = self.sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.adapter.socket = self.sock
        super().request(*args, **kwargs)
