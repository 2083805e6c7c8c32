"""Brings a published file into the cache, once, and says what it is.

    CACHE/<file>            only ever whole and checked against its publisher's digest
    CACHE/<file>.sha256     our own digest, recorded then, checked at every use
    CACHE/<file>.part       what a download that was cut short has left; the next one goes on from there
    CACHE/<file>.lock       held by the process that downloads; the kernel takes it from a killed one

Unusual: the standard library alone. A server that lets bytes drip is given up like one that is silent.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from hpa_jax import __version__
from hpa_jax.errors import InputError
from hpa_jax.pretrained.sources import Source

MAX_BYTES = 2 << 30
_PIECE = 1 << 16
_PASSING = (408, 425, 429, *range(500, 600))  # statuses that another try may not meet
_LONGEST_BACKOFF, _LONGEST_HOLD = 60.0, 300.0  # seconds; the latter whatever Retry-After asks for


class Policy(NamedTuple):
    """How hard to try."""

    retries: int = 6
    backoff: float = 1.0  # seconds before the first retry; twice as long before each further one
    timeout: float = 30.0  # seconds without a byte
    window: float = 60.0  # seconds in which at least `window` * `pace` bytes have to come
    pace: float = 1000.0  # bytes a second
    max_bytes: int = MAX_BYTES


class _Again(Exception):
    """A try that failed in a way that the next may not; `after` seconds, if the host says."""

    def __init__(self, reason: str, after: float | None = None):
        super().__init__(reason)
        self.after = after


def default_cache() -> Path:
    """$HPA_CACHE, else `hpa_jax` in the user's cache folder."""
    if folder := os.environ.get("HPA_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpa_jax"


def fetch(source: Source, cache: Path | None = None, policy: Policy = Policy()) -> tuple[Path, str]:  # noqa: B008
    """The file of `source` in the cache, downloaded if it is not there, and its SHA-256.

    Raises:
      InputError: it cannot be had, is not what its publisher's digest says, or was changed since it was downloaded.
    """
    folder = cache or default_cache()
    path = folder / source.file_name
    try:
        if found := _checked(path, source):
            return path, found
        folder.mkdir(parents=True, exist_ok=True)
        with _held(path):
            if found := _checked(path, source):  # another process was faster
                return path, found
            _download(source, path, policy)
            return path, _record(path, source)
    except OSError as error:
        raise InputError(
            f"the cache {folder} cannot be used ({error.strerror or error}); set HPA_CACHE to another folder"
        ) from error


def _checked(path: Path, source: Source) -> str | None:
    """The SHA-256 of a file that is there and as it should be; None if there is none."""
    if not path.is_file():
        return None
    record = path.with_name(f"{path.name}.sha256")
    if (
        not record.is_file()
    ):  # copied there by hand, or the process was killed before it wrote the record
        return _record(path, source)
    found = _digest(path, "sha256")
    if found != record.read_text(encoding="utf-8").split(" ")[0]:
        raise InputError(
            f"{path} has changed since it was downloaded (SHA-256 differs); remove it and start again"
        )
    return found


def _record(path: Path, source: Source) -> str:
    """Checks a file against its publisher's digest and writes our own beside it."""
    if fault := _fault(path, source):
        raise InputError(f"{path} {fault}; remove it and start again")
    found = _digest(path, "sha256")
    with contextlib.suppress(OSError):  # a cache that others fill and we may only read
        record = path.with_name(f"{path.name}.sha256")
        temporary = record.with_name(f"{record.name}.{os.getpid()}")
        temporary.write_text(f"{found}  {path.name}\n", encoding="utf-8")
        temporary.replace(record)
    return found


def _fault(path: Path, source: Source) -> str:
    """In words, how a file differs from what its publisher's digest says; '' if it does not."""
    kind, _, digits = source.digest.partition(":")
    found = _digest(path, kind)
    if found.startswith(digits):
        return ""
    return (
        f"is not what its publisher gives out ({kind.upper()} {found[: len(digits)]}, not {digits})"
    )


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process downloads {path.name}; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(source: Source, path: Path, policy: Policy) -> None:
    """Leaves the whole file at `path`, checked, or raises InputError."""
    part = path.with_name(f"{path.name}.part")
    if part.is_file() and not _fault(part, source):  # whole: only its name was still to come
        part.replace(path)
        return
    for number in range(policy.retries + 1):
        try:
            _transfer(source, part, policy)
        except _Again as error:
            reason, wait = str(error), error.after
        else:
            reason, wait = _fault(part, source), None
            if not reason:
                part.replace(path)
                return
            part.unlink()
        if number < policy.retries:
            if wait is None:
                wait = min(policy.backoff * 2**number, _LONGEST_BACKOFF) * random.uniform(0.5, 1.5)
            print(f"{source.file_name} {reason}; trying again in {wait:.0f} s", flush=True)
            time.sleep(wait)
    raise InputError(_failure(source, path, f"{reason} (tries: {policy.retries + 1})"))


def _failure(source: Source, path: Path, reason: str) -> str:
    return f"{source.url} {reason}; put the file at {path} by hand, or set config.model.pretrained to where it lies"


def _transfer(source: Source, part: Path, policy: Policy) -> None:
    """Appends to `part` what it lacks, or begins it anew where the server does not go on."""
    begun = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"hpa_jax/{__version__}"} | (
        {"Range": f"bytes={begun}-"} if begun else {}
    )
    request = urllib.request.Request(source.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=policy.timeout) as response:
            if response.status != 206:
                begun = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
                part.unlink(missing_ok=True)
                raise _Again("answers with another part of the file than was asked for")
            length = response.headers.get("Content-Length", "")
            total = begun + int(length) if length.isdecimal() else None
            with open(part, "ab" if begun else "wb") as file:
                _receive(response, file, total, source.file_name, policy)
                file.flush()
                os.fsync(file.fileno())
                if total is not None and file.tell() != total:
                    raise _Again(f"is cut short: {file.tell()} of {total} bytes")
    except urllib.error.HTTPError as error:
        with error:
            said = " ".join(f"status {error.code} {error.reason}".split())[:120]
            if error.code == 416:  # what is there is longer than the file
                part.unlink(missing_ok=True)
            elif error.code not in _PASSING:
                raise InputError(
                    _failure(source, part.with_suffix(""), f"is refused ({said})")
                ) from error
            raise _Again(said, _retry_after(error.headers.get("Retry-After", ""))) from error
    # ValueError: of a redirect to what is no address.
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
        ValueError,
    ) as error:
        raise _Again(_in_words(error)) from error


def _receive(
    response: http.client.HTTPResponse, file: BinaryIO, total: int | None, name: str, policy: Policy
) -> None:
    """Writes what comes, as it comes, with a progress bar where there is a terminal."""
    window_begun, window_bytes = time.monotonic(), 0
    with tqdm(
        total=total,
        initial=file.tell(),
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        desc=name,
        disable=None,
    ) as bar:
        while True:
            try:
                piece = response.read1(_PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise _Again(_in_words(error)) from error
            if not piece:
                return
            file.write(piece)
            bar.update(len(piece))
            window_bytes += len(piece)
            if file.tell() > policy.max_bytes:
                file.truncate(0)
                raise _Again(f"does not end: more than {policy.max_bytes >> 20} MB")
            if (passed := time.monotonic() - window_begun) > policy.window:
                if window_bytes < policy.pace * passed:
                    raise _Again(f"comes too slowly: {window_bytes} bytes in {passed:.0f} s")
                window_begun, window_bytes = time.monotonic(), 0


def _retry_after(value: str) -> float | None:
    """Seconds that the host asks to wait, if it says so as a number."""
    return min(float(value), _LONGEST_HOLD) if value.strip().isdecimal() else None


def _in_words(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "gives no answer in time"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"cannot be had ({' '.join(str(text).split())[:120]})"
