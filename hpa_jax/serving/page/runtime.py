"""onnxruntime-web, which runs a net in a browser: fetched once, checked, kept in the user's cache.

Design:
- `npm pack` fetches it, from whatever registry the user has configured; what arrives has the
  SHA-256 that stands here, or is not used. No part of it is executed on this machine.
- Who has no npm, or no network, gives the package as a file (`--runtime`).
- The package is kept as it came: whatever is read from the cache is compared with the digest again.
"""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hpa_jax.environment.cache_folder import cache_folder
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import write_atomically

VERSION = "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
"""Of the package, as npm packs it."""

PACKAGE = f"onnxruntime-web@{VERSION}"
ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
"""The name of the file that npm writes."""

_SCRIPT = "package/dist/ort.wasm.bundle.min.mjs"
_WASM = "package/dist/ort-wasm-simd-threaded.wasm"

_MEGABYTE = 10**6
_MAX_ARCHIVE = 100 * _MEGABYTE
_TIMEOUT = 600
"""Seconds that npm may take for its 33 MB."""
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Runtime:
    """What a page needs of the package.

    Attributes:
      script: an ES module.
      wasm: the program that the module runs.
    """

    script: bytes
    wasm: bytes


def load_runtime(archive: Path | None = None) -> Runtime:
    """The runtime, from a file, the cache or npm.

    Args:
      archive: the package as a file; None: from the cache, and if it is not there, by npm.

    Raises:
      InputError: it cannot be had, or is not the one that is wanted.
    """
    if archive is not None:
        return _unpack(_read_given(archive))
    kept = cache_folder() / "onnxruntime-web" / ARCHIVE
    content = _read_kept(kept)
    if content is None:
        content = _fetch()
        _keep(kept, content)
    return _unpack(content)


def _read_given(archive: Path) -> bytes:
    content = _read(archive)
    if not _is_wanted(content):
        raise InputError(
            f"{archive}: is not {PACKAGE} as npm packs it (its SHA-256 is another); "
            f"get it with: npm pack {PACKAGE}"
        )
    return content


def _read_kept(kept: Path) -> bytes | None:
    """What the cache has; None if it has nothing, or something else."""
    try:
        content = _read(kept)
    except InputError:
        return None
    return content if _is_wanted(content) else None


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_ARCHIVE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _is_wanted(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256


def _fetch() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"the page needs {PACKAGE}, which npm fetches, and there is no npm here: install "
            f"Node.js, or run `npm pack {PACKAGE}` on another machine and give its file "
            f"with --runtime={ARCHIVE}"
        )
    with tempfile.TemporaryDirectory(prefix="hpa_jax_npm_") as folder:
        _run_npm(npm, folder)
        content = _read(Path(folder) / ARCHIVE)
    if not _is_wanted(content):
        raise InputError(
            f"npm fetched another {PACKAGE} than the one that is known here (its SHA-256 differs); "
            "look at `npm config get registry`"
        )
    return content


def _run_npm(npm: str, folder: str) -> None:
    # Scripts of the package are not run, and nothing is installed.
    command = [npm, "pack", PACKAGE, "--ignore-scripts", f"--pack-destination={folder}"]
    command += ["--loglevel=error", "--no-update-notifier", "--no-fund", "--no-audit"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"npm did not fetch {PACKAGE} within {_TIMEOUT} s; {_by_hand()}") from None
    except OSError as error:
        raise InputError(f"{npm} cannot be run ({one_line(error)}); {_by_hand()}") from None
    if done.returncode != 0:
        reason = _reason(done.stderr.decode(errors="replace"))
        raise InputError(f"npm could not fetch {PACKAGE} ({reason}); {_by_hand()}")


def _reason(errors: str) -> str:
    """What npm says first of what went wrong; the rest is advice."""
    for line in errors.splitlines():
        text = line.removeprefix("npm error").removeprefix("npm ERR!").strip()
        is_code = text.startswith(("code ", "errno ", "syscall "))
        if text and not is_code:
            return one_line(text, limit=_LONGEST_REASON)
    return "it gave no reason"


def _by_hand() -> str:
    return f"have its file from another machine with `npm pack {PACKAGE}`: --runtime={ARCHIVE}"


def _keep(kept: Path, content: bytes) -> None:
    """Keeps the package for the next page; who cannot, fetches it again."""
    try:
        os.makedirs(kept.parent, exist_ok=True)
        write_atomically(kept, content)
    except OSError:
        pass


def _unpack(content: bytes) -> Runtime:
    """Takes two files out of a package whose digest was compared."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        found = {}
        for name in (_SCRIPT, _WASM):
            found[name] = archive.extractfile(name).read()
    return Runtime(script=_without_source_map(found[_SCRIPT]), wasm=found[_WASM])


def _without_source_map(script: bytes) -> bytes:
    """A browser whose tools are open would look for the map beside the page."""
    code, _, _ = script.partition(b"\n//# sourceMappingURL=")
    return code
