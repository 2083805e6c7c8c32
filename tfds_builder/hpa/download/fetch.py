"""Fetches one file over HTTP, verified, or says in words why it could not be had.

Unusual:
- The timeouts of a socket count from byte to byte: a server that sends one byte now and then would hold a worker for
  ever. So each try has a time for all of it, and another thread (see `Line.cut`) shuts the socket when that is over.
- Whether the bytes are a whole file is part of the try: half a file or a web page with status 200 is tried again like
  a lost connection.
- "Too many requests" is said to the program and not to the file: it holds back all workers (see `rate.py`).
"""

import contextlib
import http.client
import random
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter

from hpa_jax import __version__
from tfds_builder.hpa.download.rate import Turns
from tfds_builder.hpa.download.workers import Stopped

AGENT = f"hpa_jax/{__version__} python-requests/{requests.__version__}"
MAX_BYTES = 64 << 20  # of a body; the largest JPG of the Atlas seen has 0.6 MB
MAX_REDIRECTS = 5
_CONNECT, _READ = (
    10.0,
    30.0,
)  # seconds until a connection stands, and between two pieces that arrive on it
_LONGEST_BACKOFF, _LONGEST_HOLD = (
    60.0,
    300.0,
)  # seconds; whatever Retry-After asks for, and however often
_MISSING = (404, 410)
_PASSING = (408, 425, 429, *range(500, 600))  # statuses that another try may not meet


class Policy(NamedTuple):
    """How hard to try."""

    retries: int = 6
    backoff: float = 1.0  # seconds before the first retry; twice as long before each further one
    timeout: float = 120.0  # seconds that one try may take


class Failed(Exception):
    """The file could not be had; the text says why.

    Attributes:
      missing: the host says that there is no such file. Otherwise another file may well meet the same.
    """

    def __init__(self, reason: str, missing: bool = False):
        super().__init__(
            "".join(char if char.isprintable() else "?" for char in reason)
        )  # hosts choose their words
        self.missing = missing


class _Again(Exception):
    """A try that failed in a way that the next may not; `hold` if the host asked for less haste."""

    def __init__(self, reason: str, after: float | None = None, hold: bool = False):
        super().__init__(reason)
        self.after, self.hold = after, hold


class Line:
    """One thread's way to the host, with a connection that is kept."""

    def __init__(self, turns: Turns, policy: Policy, fault: Callable[[bytes], str]):
        """`fault` says in words what is wrong with a body; empty if nothing is."""
        self._turns, self._policy, self._fault = turns, policy, fault
        self._until, self._was_cut = float("inf"), False
        self._adapter = _Adapter(self._begin)
        self._session = requests.Session()
        self._session.max_redirects = MAX_REDIRECTS
        self._session.headers.update(
            {"User-Agent": AGENT, "Accept": "image/jpeg, */*;q=0.5", "Accept-Encoding": "identity"}
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def fetch(self, url: str) -> bytes:
        """The file at `url`, verified.

        Raises:
          Failed: it is not there, or not to be had in all tries.
          Stopped: all is to end.
        """
        for number in range(self._policy.retries + 1):
            try:
                return self._try(url)
            except _Again as error:
                reason = str(error)
                if number == self._policy.retries:
                    break
                wait = error.after
                if wait is None:
                    wait = min(self._policy.backoff * 2**number, _LONGEST_BACKOFF) * random.uniform(
                        0.5, 1.5
                    )
                if error.hold:
                    self._turns.hold(wait)
                else:
                    self._turns.sleep(wait)
        raise Failed(f"{reason} (tries: {self._policy.retries + 1})")

    def cut(self) -> None:
        """Ends the try that runs in another thread, if its time is over or all is to end."""
        if time.monotonic() > self._until or self._turns.stop.is_set():
            self._was_cut = True
            if isinstance(sock := self._adapter.socket, socket.socket):
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(
                        sock, socket.SHUT_RDWR
                    )  # the plain one: TLS would say goodbye first

    def _begin(self) -> None:
        """Before every request, those that follow a redirect too."""
        self._turns.wait()
        if self._until == float("inf"):
            self._was_cut = False
            self._until = time.monotonic() + self._policy.timeout

    def _try(self, url: str) -> bytes:
        timeout = tuple(min(seconds, self._policy.timeout) for seconds in (_CONNECT, _READ))
        reason = ""
        try:
            with self._session.get(url, stream=True, timeout=timeout) as response:
                body = _body(response)
        except requests.TooManyRedirects:
            raise Failed(f"is redirected more than {MAX_REDIRECTS} times") from None
        # ValueError: of a redirect to what is no address.
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as error:
            reason = in_words(error)
        finally:
            self._until = float("inf")
        if self._turns.stop.is_set():
            raise Stopped
        if self._was_cut:  # not always an error: headers that are cut look like headers that end
            raise _Again(f"was not whole after {self._policy.timeout:g} s")
        if reason:
            raise _Again(reason)
        _check(response, body)
        if fault := self._fault(body):
            raise _Again(fault)
        return body


def _check(response: requests.Response, body: bytes) -> None:
    """Raises what an answer deserves that is not a whole body."""
    status = f"status {response.status_code} {response.reason or ''}".rstrip()
    if response.status_code in _MISSING:
        raise Failed(f"does not exist there ({status})", missing=True)
    if response.status_code in _PASSING:
        after = _retry_after(response)
        raise _Again(status, after, hold=response.status_code == 429 or after is not None)
    if response.status_code != 200:
        raise Failed(f"is refused ({status})")
    if len(body) > MAX_BYTES:
        raise Failed(f"has more than {MAX_BYTES >> 20} MB")
    length = response.headers.get("Content-Length", "")
    if (
        length.isdecimal()
        and int(length) != len(body)
        and "Content-Encoding" not in response.headers
    ):
        raise _Again(f"is cut short: {len(body)} of {length} bytes")


def _body(response: requests.Response) -> bytes:
    """All of an image; of anything else no more than lets the connection be kept."""
    most = MAX_BYTES if response.status_code == 200 else 1 << 16
    body = bytearray()
    for piece in response.iter_content(1 << 16):
        body += piece
        if len(body) > most:
            break
    return bytes(body)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the host asks to wait, as a number or a date; None if it says nothing that can be read."""
    with contextlib.suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        if value := response.headers.get("Retry-After", "").strip():
            return min(urllib3.Retry().parse_retry_after(value), _LONGEST_HOLD)
    return None


def in_words(error: BaseException) -> str:
    """The innermost reason of an error of requests or urllib3, short: `Connection refused`."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    if isinstance(error, http.client.IncompleteRead):
        return "is cut short: the connection ended within it"
    if isinstance(error, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:120]


class _Adapter(HTTPAdapter):
    """Knows the socket in use."""

    def __init__(self, begin: Callable[[], None]):
        self.socket, self._begin = None, begin
        super().__init__(pool_connections=4, pool_maxsize=1)

    def send(self, request, *args, **kwargs):
        self._begin()
        return super().send(request, *args, **kwargs)

    def get_connection_with_tls_context(self, *args, **kwargs):
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _Seen):
            pool.ConnectionCls = type(
                "SeenConnection", (_Seen, pool.ConnectionCls), {"adapter": self}
            )
        return pool


class _Seen:
    """A connection that shows its socket to its adapter: http.client itself forgets it at `Connection: close`."""

    def connect(self):
        super().connect()
        self.adapter.socket = self.sock

    def request(self, *args, **kwargs):
        if self.sock is not None:
            self.adapter.socket = self.sock
        return super().request(*args, **kwargs)
