"""Fetches files for one thread: attempts, what is tried again and after how long."""

import contextlib
import os
import random
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import requests
from tqdm import tqdm

from hpa_jax import __version__
from hpa_jax.http_fetch.connection import Deadline, TrackingAdapter
from hpa_jax.http_fetch.outcome import (
    NETWORK_ERRORS,
    Failed,
    Restart,
    Retry,
    Stopped,
    check_status,
    reason_of,
)
from hpa_jax.http_fetch.policy import Policy
from hpa_jax.http_fetch.rate_limiter import RateLimiter

Result = TypeVar("Result")

MAX_REDIRECTS = 5
MAX_BACKOFF = 60.0  # seconds
CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16  # bytes
_BYTES = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}  # of a progress bar

# What a redirect from an address of each scheme may lead to: never from a safe one to another.
_FOLLOWED = {"https": ("https",), "http": ("http", "https")}


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
        self._adapter = TrackingAdapter()
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
                raise Retry(fault)
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
                    raise Restart(fault)
            except Restart:
                part.unlink(missing_ok=True)
                raise

        self._with_retries(attempt)

    def abort(self) -> None:
        """Ends the attempt that is running in another thread by shutting down its socket."""
        self._adapter.shut_down_socket()

    def _with_retries(self, attempt: Callable[[], Result]) -> Result:
        retries = self._policy.retries
        number = 0
        while True:
            try:
                return attempt()
            except Retry as error:
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
                raise Restart("answers with another range than was asked for")
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() else None
            bar = tqdm(desc=part.stem, total=total, initial=start, disable=None, **_BYTES)
            with open(part, "ab" if start else "wb") as file, bar:
                for chunk in chunks:
                    file.write(chunk)
                    bar.update(len(chunk))
                    if file.tell() > self._policy.max_bytes:
                        raise Restart(f"has more than {self._policy.max_bytes >> 20} MB")
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
        deadline = Deadline(self._policy, self.abort)
        try:
            with self._network_errors(deadline):
                response = self._session.get(url, headers=headers, stream=True, timeout=timeout)
            with response:
                chunks = self._chunks(response, deadline)
                if response.status_code not in (200, 206):
                    _discard(chunks)
                check_status(response, resuming=start > 0)
                yield response, chunks
        finally:
            deadline.cancel()

    def _chunks(self, response: requests.Response, deadline: Deadline) -> Iterator[bytes]:
        """The body, as soon as it arrives: what a killed process has received is in its file."""
        while True:
            with self._network_errors(deadline):
                chunk = response.raw.read1(_CHUNK, decode_content=True)
            if not chunk:
                return
            deadline.received += len(chunk)
            yield chunk

    @contextlib.contextmanager
    def _network_errors(self, deadline: Deadline) -> Iterator[None]:
        """Turns what the network raises into a Retry, and an abort into its cause."""
        failure = ""
        try:
            yield
        except requests.TooManyRedirects:
            raise Failed(f"is redirected more than {MAX_REDIRECTS} times") from None
        except NETWORK_ERRORS as error:
            failure = reason_of(error)
        if self._limiter.stop.is_set():
            raise Stopped
        # Also without an error: headers that are cut off look like headers that end.
        if deadline.expired:
            raise Retry(f"is not complete after {self._policy.timeout:g} s")
        if failure:
            raise Retry(failure)

    def _check_redirect(self, response: requests.Response, **_: Any) -> None:
        """Refuses one that would be less safe; the request that follows one counts as one."""
        if not response.is_redirect:
            return
        target = urllib.parse.urljoin(response.url, response.headers["location"])
        scheme = urllib.parse.urlsplit(target).scheme.lower()
        if scheme not in _FOLLOWED[urllib.parse.urlsplit(response.url).scheme.lower()]:
            raise Failed(f"is redirected to {scheme}, which is not followed: {target[:120]}")
        self._limiter.acquire()


def _discard(chunks: Iterator[bytes]) -> None:
    """Reads a short body, so that its connection can be kept."""
    left = _CHUNK
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            return
