"""Files over HTTP: retries, a rate limit, resumed downloads, and limits on size and time.

    client = HttpClient(Policy(timeout=120))
    body = client.get(url, check)                 # a small file, as bytes
    client.download(url, part, check)             # a large file; resumes what is at `part`

Design:
- The timeouts of a socket count from one byte to the next, so a server that sends a byte now and
  then could hold a thread forever. Each attempt has a deadline for all of it, at which another
  thread shuts its socket down.
- Whether the content is right (`check`) is part of an attempt: half a file, or a web page with
  status 200, is retried like a lost connection.
- "Too many requests" is meant for the program, not for one file: it pauses all threads that share a
  `RateLimiter`.
"""

import contextlib
import http.client
import math
import os
import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from tqdm import tqdm

from hpa_jax import __version__
from hpa_jax.errors import one_line

Result = TypeVar("Result")

MAX_REDIRECTS = 5
MAX_BACKOFF = 60.0  # seconds
MAX_PAUSE = 300.0  # seconds, whatever Retry-After asks for
CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16  # bytes
_BYTES = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}  # of a progress bar
_NOT_FOUND = (404, 410)
# What a redirect from an address of each scheme may lead to: never from a safe one to another.
_FOLLOWED = {"https": ("https",), "http": ("http", "https")}
_TRANSIENT = (408, 425, 429, *range(500, 600))
_NETWORK_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,  # a redirect to something that is no address
)
_TIMEOUTS = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)


class Policy(NamedTuple):
    """How hard to try, and how long."""

    retries: int = 6  # attempts after the first
    backoff: float = 1.0  # seconds before the first retry, doubled before each further one
    timeout: float = 120.0  # seconds that one attempt may take
    min_rate: float = math.inf  # bytes/s; an attempt as fast as that may take another `timeout`
    max_bytes: int = 64 << 20  # of a file


class Failed(Exception):
    """The file could not be fetched. The text says why; its subject is the URL: "is refused (...)".

    Attributes:
      missing: the host says that there is no such file. Any other failure may concern all files.
    """

    def __init__(self, reason: str, missing: bool = False):
        super().__init__(one_line(reason))
        self.missing = missing


class Stopped(Exception):
    """Raised in a thread that is to end because its RateLimiter's `stop` was set."""


class _Retry(Exception):
    """An attempt failed in a way that the next one may not.

    Attributes:
      wait: seconds that the host asks for; None if it does not.
      pauses_all: whether the host asks for fewer requests altogether.
    """

    def __init__(self, reason: str, wait: float | None = None, pauses_all: bool = False):
        super().__init__(one_line(reason))
        self.wait = wait
        self.pauses_all = pauses_all


class _Restart(_Retry):
    """What has been downloaded so far is of no use: the next attempt starts at the first byte."""


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


class HttpClient:
    """Fetches files for one thread, over connections that are kept open."""

    def __init__(
        self,
        policy: Policy,
        limiter: RateLimiter | None = None,
        *,
        accept: str = "*/*",
        log: Callable[[str], None] = lambda line: None,
    ):
        """`limiter` may be shared with other clients; `log` takes a line before each retry."""
        self._policy = policy
        self._limiter = limiter or RateLimiter()
        self._log = log
        self._adapter = _TrackingAdapter()
        self._session = requests.Session()
        self._session.max_redirects = MAX_REDIRECTS
        self._session.hooks["response"].append(self._check_redirect)
        self._session.headers.update(
            {
                "User-Agent": f"hpa_jax/{__version__} python-requests/{requests.__version__}",
                "Accept": accept,
                "Accept-Encoding": "identity",
            }
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def get(self, url: str, check: Callable[[bytes], str]) -> bytes:
        """Fetches a file into memory.

        Args:
          url: http or https.
          check: says what is wrong with the content; empty if nothing is.

        Raises:
          Failed: it does not exist, is refused or too large, or every attempt failed.
          Stopped: the limiter's `stop` was set.
        """

        def attempt() -> bytes:
            body = bytearray()
            with self._open(url) as (_, chunks):
                for chunk in chunks:
                    body += chunk
                    if len(body) > self._policy.max_bytes:
                        raise Failed(f"has more than {self._policy.max_bytes >> 20} MB")
            if fault := check(bytes(body)):
                raise _Retry(fault)
            return bytes(body)

        return self._with_retries(attempt)

    def download(self, url: str, part: Path, check: Callable[[Path], str]) -> None:
        """Fetches a file to `part`, continuing with what is there; shows a bar on a terminal.

        Args:
          url: http or https.
          part: left as it is by a failure, for the next call to resume from.
          check: says what is wrong with the file; empty if nothing is.

        Raises:
          Failed, Stopped: as `get`.
          OSError: `part` cannot be written.
        """

        def attempt() -> None:
            try:
                self._append(url, part)
                if fault := check(part):
                    raise _Restart(fault)
            except _Restart:
                part.unlink(missing_ok=True)
                raise

        self._with_retries(attempt)

    def abort(self) -> None:
        """Ends the attempt that is running in another thread by shutting down its socket."""
        sock = self._adapter.socket
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # The plain socket's method: that of TLS would first wait for the other side.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _with_retries(self, attempt: Callable[[], Result]) -> Result:
        retries = self._policy.retries
        number = 0
        while True:
            try:
                return attempt()
            except _Retry as error:
                if number == retries:
                    raise Failed(f"{error} (tries: {retries + 1})") from error
                wait = error.wait
                if wait is None:
                    backoff = min(self._policy.backoff * 2**number, MAX_BACKOFF)
                    # Only to keep clients apart.
                    wait = backoff * random.uniform(0.5, 1.5)  # nosec B311
                self._log(f"{error}; trying again in {wait:.0f} s")
                pause = self._limiter.pause if error.pauses_all else self._limiter.sleep
                pause(wait)
                number += 1

    def _append(self, url: str, part: Path) -> None:
        """One attempt of `download`, without the check."""
        start = part.stat().st_size if part.exists() else 0
        with self._open(url, start) as (response, chunks):
            if response.status_code != 206:
                start = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise _Restart("answers with another range than was asked for")
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() else None
            bar = tqdm(desc=part.stem, total=total, initial=start, disable=None, **_BYTES)
            with open(part, "ab" if start else "wb") as file, bar:
                for chunk in chunks:
                    file.write(chunk)
                    bar.update(len(chunk))
                    if file.tell() > self._policy.max_bytes:
                        raise _Restart(f"has more than {self._policy.max_bytes >> 20} MB")
                file.flush()
                os.fsync(file.fileno())

    @contextlib.contextmanager
    def _open(
        self, url: str, start: int = 0
    ) -> Iterator[tuple[requests.Response, Iterator[bytes]]]:
        """A response with the file from byte `start` on, or all of it, and its decoded chunks."""
        self._limiter.acquire()
        headers = {"Range": f"bytes={start}-"} if start else {}
        # Nothing but this can end an attempt to connect.
        connect_timeout = min(CONNECT_TIMEOUT, self._policy.timeout)
        timeout = (connect_timeout, READ_TIMEOUT)
        deadline = _Deadline(self._policy, self.abort)
        try:
            with self._network_errors(deadline):
                response = self._session.get(url, headers=headers, stream=True, timeout=timeout)
            with response:
                chunks = self._chunks(response, deadline)
                if response.status_code not in (200, 206):
                    _discard(chunks)
                _check_status(response, resuming=start > 0)
                yield response, chunks
        finally:
            deadline.cancel()

    def _chunks(self, response: requests.Response, deadline: "_Deadline") -> Iterator[bytes]:
        """The body, as soon as it arrives: what a killed process has received is in its file."""
        while True:
            with self._network_errors(deadline):
                chunk = response.raw.read1(_CHUNK, decode_content=True)
            if not chunk:
                return
            deadline.received += len(chunk)
            yield chunk

    @contextlib.contextmanager
    def _network_errors(self, deadline: "_Deadline") -> Iterator[None]:
        """Turns what the network raises into a _Retry, and an abort into its cause."""
        failure = ""
        try:
            yield
        except requests.TooManyRedirects:
            raise Failed(f"is redirected more than {MAX_REDIRECTS} times") from None
        except _NETWORK_ERRORS as error:
            failure = _reason(error)
        if self._limiter.stop.is_set():
            raise Stopped
        # Also without an error: headers that are cut off look like headers that end.
        if deadline.expired:
            raise _Retry(f"is not complete after {self._policy.timeout:g} s")
        if failure:
            raise _Retry(failure)

    def _check_redirect(self, response: requests.Response, **_: Any) -> None:
        """Refuses one that would be less safe; the request that follows one counts as one."""
        if not response.is_redirect:
            return
        target = urllib.parse.urljoin(response.url, response.headers["location"])
        scheme = urllib.parse.urlsplit(target).scheme.lower()
        if scheme not in _FOLLOWED[urllib.parse.urlsplit(response.url).scheme.lower()]:
            raise Failed(f"is redirected to {scheme}, which is not followed: {target[:120]}")
        self._limiter.acquire()


class _Deadline:
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


class _TrackingAdapter(HTTPAdapter):
    """Knows the socket in use, which http.client itself forgets at `Connection: close`."""

    def __init__(self):
        self.socket: Any = None
        super().__init__(pool_connections=4, pool_maxsize=1)

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


def _discard(chunks: Iterator[bytes]) -> None:
    """Reads a short body, so that its connection can be kept."""
    left = _CHUNK
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            return


def _check_status(response: requests.Response, resuming: bool) -> None:
    code = response.status_code
    status = f"status {code} {response.reason or ''}".rstrip()
    if code in _NOT_FOUND:
        raise Failed(f"does not exist there ({status})", missing=True)
    if code in _TRANSIENT:
        wait = _retry_after(response)
        raise _Retry(f"answers with {status}", wait, pauses_all=code == 429 or wait is not None)
    # A file longer than the host's, or a range that was not asked for.
    if code == 416 or (code == 206 and not resuming):
        raise _Restart(f"answers with {status}")
    if code not in (200, 206):
        raise Failed(f"is refused ({status})")


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the host asks to wait, as a number or a date; None if it gives neither."""
    value = response.headers.get("Retry-After", "").strip()
    with contextlib.suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        if value:
            return min(urllib3.Retry().parse_retry_after(value), MAX_PAUSE)
    return None


def _reason(error: BaseException) -> str:
    """What is at the bottom of an error of requests or urllib3: "Connection refused"."""
    # An IncompleteRead may itself come of an error of parsing, which tells nothing.
    while not isinstance(error, http.client.IncompleteRead):
        context = None if error.__suppress_context__ else error.__context__
        cause = error.__cause__ or context
        if cause is None:
            break
        error = cause
    if isinstance(error, http.client.IncompleteRead):
        return "is cut short: the connection ended within it"
    if isinstance(error, _TIMEOUTS):
        return "gives no answer in time"
    return f"cannot be fetched ({one_line(error, 120)})"
