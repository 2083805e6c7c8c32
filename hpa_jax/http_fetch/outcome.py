"""How an attempt to fetch a file can end, and what a response or an error of the network means."""

import contextlib
import http.client

import requests
import urllib3

from hpa_jax.errors import one_line

MAX_PAUSE = 300.0  # seconds, whatever Retry-After asks for
# Statuses of HTTP.
_NOT_FOUND = (404, 410)
_TRANSIENT = (408, 425, 429, *range(500, 600))

NETWORK_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,  # a redirect to something that is no address
)

_TIMEOUTS = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)


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


class Retry(Exception):
    """An attempt failed in a way that the next one may not.

    Attributes:
      wait: seconds that the host asks for; None if it does not.
      pauses_all: whether the host asks for fewer requests altogether.
    """

    def __init__(self, reason: str, wait: float | None = None, pauses_all: bool = False):
        super().__init__(one_line(reason))
        self.wait = wait
        self.pauses_all = pauses_all


class Restart(Retry):
    """What has been downloaded so far is of no use: the next attempt starts at the first byte."""


def check_status(response: requests.Response, resuming: bool) -> None:
    """Lets a response with the file pass, all of it or the range that was asked for.

    Args:
      response: its body is not read.
      resuming: whether a range was asked for.

    Raises:
      Failed: there is no such file, or it is refused.
      Retry, Restart: the host may answer otherwise later.
    """
    code = response.status_code
    status = f"status {code} {response.reason or ''}".rstrip()
    if code in _NOT_FOUND:
        raise Failed(f"does not exist there ({status})", missing=True)
    if code in _TRANSIENT:
        wait = _retry_after(response)
        raise Retry(f"answers with {status}", wait, pauses_all=code == 429 or wait is not None)
    # A file longer than the host's, or a range that was not asked for.
    if code == 416 or (code == 206 and not resuming):
        raise Restart(f"answers with {status}")
    if code not in (200, 206):
        raise Failed(f"is refused ({status})")


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the host asks to wait, as a number or a date; None if it gives neither."""
    value = response.headers.get("Retry-After", "").strip()
    with contextlib.suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        if value:
            return min(urllib3.Retry().parse_retry_after(value), MAX_PAUSE)
    return None


def reason_of(error: BaseException) -> str:
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
