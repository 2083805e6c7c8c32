"""Downloads a published file into the cache, once, and checks it at every use.

CACHE/<file>            complete, and checked against its publisher's digest
CACHE/<file>.sha256     our own digest, recorded then and checked at every use
CACHE/<file>.part       what an interrupted download has left; the next one resumes there
CACHE/<file>.lock       held by the process that downloads
"""

import contextlib
import hashlib
import os
from pathlib import Path

from hpa_jax.environment.cache_folder import cache_folder
from hpa_jax.environment.causes import advice
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import exclusive_lock, write_atomically
from hpa_jax.http_fetch import Failed, HttpClient, Policy
from hpa_jax.pretrained.sources import Source

# Any speed will do that is not a stalled connection: a file of weights has up to 250 MB.
POLICY = Policy(timeout=60.0, min_rate=1000.0, max_bytes=2 << 30)


def default_cache() -> Path:
    """$HPA_CACHE, else `hpa_jax` in the user's cache folder."""
    if folder := os.environ.get("HPA_CACHE"):
        return local_path(folder, "HPA_CACHE")
    return cache_folder()


def fetch(source: Source, cache: Path | None = None, policy: Policy = POLICY) -> tuple[Path, str]:
    """Downloads the file of `source`, unless the cache has it.

    Args:
      source: what to download.
      cache: the folder; None: `default_cache()`.
      policy: of the download.

    Returns:
      The file in the cache and its SHA-256, hex.

    Raises:
      InputError: it cannot be downloaded, does not have its publisher's digest, or was changed
        since its download.
    """
    folder = cache or default_cache()
    path = folder / source.file_name
    try:
        if found := _checked(path, source):
            return path, found
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock")
        with exclusive_lock(lock, busy=f"{path.name} is being downloaded", wait=True):
            # Another process may have been faster.
            if not (found := _checked(path, source)):
                _download(source, path, policy)
                found = _record(path, source)
            return path, found
    except OSError as error:
        raise InputError(
            f"the cache {folder} cannot be used: {one_line(error)}; {advice(error)}; "
            "HPA_CACHE names another folder"
        ) from error


def _checked(path: Path, source: Source) -> str | None:
    """The SHA-256 of a file in the cache; None if there is none."""
    if not path.is_file():
        return None
    record = path.with_name(f"{path.name}.sha256")
    # No record: copied there by hand, or the process was killed before it wrote one.
    if not record.is_file():
        return _record(path, source)
    found = _digest(path, "sha256")
    if found != record.read_text(encoding="utf-8", errors="replace").split(" ")[0]:
        raise InputError(
            f"{path} has changed since it was downloaded (its SHA-256 differs); "
            "remove it and start again"
        )
    return found


def _record(path: Path, source: Source) -> str:
    """Checks a file against its publisher's digest and writes our own beside it."""
    if fault := _fault(path, source):
        raise InputError(f"{path} {fault}; remove it and start again")
    found = _digest(path, "sha256")
    # A cache that others fill may be read-only.
    with contextlib.suppress(OSError):
        write_atomically(path.with_name(f"{path.name}.sha256"), f"{found}  {path.name}\n")
    return found


def _fault(path: Path, source: Source) -> str:
    """How a file differs from its publisher's digest; empty if it does not."""
    kind, _, digits = source.digest.partition(":")
    found = _digest(path, kind)[: len(digits)]
    if found == digits:
        return ""
    return f"is not what its publisher gives out ({kind.upper()} {found}, not {digits})"


def _digest(path: Path, kind: str) -> str:
    def new() -> "hashlib._Hash":
        return hashlib.new(kind, usedforsecurity=False)

    with open(path, "rb") as file:
        return hashlib.file_digest(file, new).hexdigest()


def _download(source: Source, path: Path, policy: Policy) -> None:
    part = path.with_name(f"{path.name}.part")
    # Complete: a process was killed before it gave the file its name.
    if not part.is_file() or _fault(part, source):
        client = HttpClient(policy, log=lambda line: print(source.file_name, line, flush=True))
        try:
            client.download(source.url, part, lambda part: _fault(part, source))
        except Failed as error:
            raise InputError(
                f"{source.url} {error}; put the file at {path} by hand, "
                "or set config.model.pretrained to where it is"
            ) from error
    part.replace(path)
