"""manifest.json of an export: its format, and the digests by which the export proves itself.

The file carries a digest of itself. That of version 0.1 and 0.2, format 1, has neither that nor a
format; it is read as well. Python's own library is enough here: an export is checked where nothing
is installed to run it, and weights are checked before a run starts from them.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hpa_jax
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import write_atomically
from hpa_jax.folders.mark import MARK, has_mark

PARAMETERS = "model.safetensors"
FORWARD = "forward.jaxexport"
DESCRIPTION = "model.json"
GOLDEN = "golden.safetensors"
FILES = (PARAMETERS, FORWARD, DESCRIPTION, GOLDEN)
"""Those of every export."""

ONNX = "model.onnx"
CARD = "README.md"
BIOIMAGE = "bioimageio.zip"
TORCHVISION = "torchvision.safetensors"
OPTIONAL = (ONNX, CARD, BIOIMAGE, TORCHVISION)
"""Those that an export may have: the manifest lists them where it does."""

MANIFEST = "manifest.json"

FORMAT = 3
"""Of an export. It rises when a reader of the one before could not read it."""

SINGLE_LABEL_FORMAT = 4
"""Of an export that decides for the most probable label. A reader of format 3 knows thresholds
alone, and would find no label in any image."""

CELL_FORMAT = 5
"""Of an export that finds cells. A reader of earlier formats would take its maps for labels."""

CHANNEL_FORMAT = 6
"""Of an export that fills in channels. A reader of earlier formats would look for labels in it."""

# Format 2 has no optional files. Format 1 has no number.
_WITH_OPTIONAL = (FORMAT, SINGLE_LABEL_FORMAT, CELL_FORMAT, CHANNEL_FORMAT)
_NUMBERED = (2, *_WITH_OPTIONAL)

_EXPORT_AGAIN = "remove it and export it again"


def check_digests(folder: Path | str, *, expect_sha256: str = "") -> dict[str, str]:
    """Checks an export without running it: Python's own library is enough.

    Args:
      folder: of the export.
      expect_sha256: the SHA-256 of manifest.json, hex, as whoever made the export has passed it on:
        then nobody can have made another export since. "": not compared.

    Returns:
      The SHA-256 of each file that the manifest lists, hex, as recorded and as found: those of
      FILES, and of OPTIONAL those that the export has.

    Raises:
      InputError: a file is missing, or a byte of it was changed; a format of later versions; or
        another export than the expected one.
    """
    folder = Path(folder)
    try:
        manifest = read_file(folder / MANIFEST)
        recorded = _parsed(manifest)
        digests = _digests(folder, _listed_names(recorded))
    except OSError as error:
        path = error.filename or folder
        raise InputError(
            f"{folder} is no complete export: {path} cannot be read ({one_line(error)}); "
            f"{_advice(folder)}"
        ) from error
    if expect_sha256:
        _check_expected(folder, manifest, expect_sha256)
    # Texts are compared: a changed byte of the manifest itself is refused as well.
    if manifest == _manifest_text(recorded, digests):
        return digests
    number = recorded.get("format", 1)
    if recorded.get("seal") == _seal(recorded) and number not in _NUMBERED:
        raise InputError(
            f"{folder} is an export of format {number}; this is hpa_jax {hpa_jax.__version__}, "
            f"which reads formats up to {max(_NUMBERED)}: install a later version"
        )
    listed = _listed(recorded)
    changed = [name for name in digests if listed.get(name) != digests[name]]
    # All of them: then it is the manifest that is none, or another's.
    is_manifest = len(changed) in (0, len(digests))
    culprit = folder / (MANIFEST if is_manifest else changed[0])
    raise InputError(f"{culprit} is not what was exported (SHA-256 differs); {_EXPORT_AGAIN}")


def _check_expected(folder: Path, manifest: bytes, expected: str) -> None:
    found = hashlib.sha256(manifest).hexdigest()
    if found != expected.strip().lower():
        raise InputError(
            f"{folder / MANIFEST} has the SHA-256 {found}, and not the expected {expected}: it is "
            "another export"
        )


def _advice(folder: Path) -> str:
    """What to do about a folder without an export's files: people give the run's folder."""
    if (folder / "export" / MANIFEST).is_file():
        return f"give {folder / 'export'}"
    if (folder / "config.json").is_file():
        return f"make one of this run: python -m hpa_jax.main --mode=export --workdir={folder}"
    return "copy or export it again"


def recorded_digest(folder: Path, name: str) -> str | None:
    """The SHA-256, hex, that an export's manifest has of a file; None where there is none."""
    try:
        listed = _listed(_parsed(read_file(folder / MANIFEST)))
    except OSError:
        return None
    digest = listed.get(name)
    return digest if isinstance(digest, str) else None


def write_manifest(folder: Path, *, single_label: bool = False, number: int | None = None) -> None:
    """Writes the digests of the folder's files into manifest.json.

    Those of OPTIONAL are listed where they are there.

    Args:
      folder: of the export.
      single_label: the export decides for the most probable label.
      number: of the format, where it does not; None: FORMAT.
    """
    names = list(FILES)
    for name in OPTIONAL:
        if (folder / name).exists():
            names.append(name)
    manifest = {
        "program": "hpa_jax",
        "version": hpa_jax.__version__,
        "format": SINGLE_LABEL_FORMAT if single_label else number or FORMAT,
    }
    write_atomically(folder / MANIFEST, _manifest_text(manifest, _digests(folder, names)))


def foreign_content(folder: Path) -> str:
    """What in a folder is not an export's: in words, or empty where all of it is.

    An export is known by its digests, one of version 0.1 too; its files' names prove nothing.

    Raises:
      OSError: the folder cannot be read.
    """
    names = set()
    for entry in os.scandir(folder):
        if not entry.is_file(follow_symlinks=False):
            return f"it holds {entry.name}, which is no export's"
        names.add(entry.name)
    # A process that was killed as it finished leaves its mark.
    if has_mark(folder, "unfinished"):
        names.discard(MARK)
    if MANIFEST not in names:
        return f"it is no export (it has no {MANIFEST})"
    try:
        listed = _listed_names(_parsed(read_file(folder / MANIFEST)))
    except OSError:
        listed = FILES
    others = sorted(names - {*listed, MANIFEST})
    if others:
        return f"it holds {others[0]}, which is no export's"
    try:
        check_digests(folder)
    except InputError as error:
        return f"it is no export as it was written ({error})"
    return ""


def _listed(manifest: dict) -> dict:
    """The digests that a manifest has, by the names of files."""
    listed = manifest.get("sha256")
    return listed if isinstance(listed, dict) else {}


def _listed_names(manifest: dict) -> tuple[str, ...]:
    """The files that an export with this manifest has to have, and no others."""
    listed = _listed(manifest)
    names = list(FILES)
    for name in OPTIONAL:
        if name in listed and manifest.get("format") in _WITH_OPTIONAL:
            names.append(name)
    return tuple(names)


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    digests = {}
    for name in names:
        with _opened(folder / name) as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _opened(path: Path) -> Any:
    # Opening a pipe would wait for someone to write.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "not a file", str(path))
    return open(path, "rb")


def read_file(path: Path) -> bytes:
    """The bytes of a file, which is none that could keep a reader waiting, such as a pipe."""
    with _opened(path) as file:
        return file.read()


def _manifest_text(manifest: dict, digests: dict[str, str]) -> bytes:
    """What manifest.json has to be, byte for byte, where the files have these digests."""
    if "format" not in manifest:
        return _text({"sha256": digests})
    head = {name: manifest.get(name) for name in ("program", "version")}
    number = manifest["format"]
    if number not in _NUMBERED:
        number = FORMAT
    content = {**head, "format": number, "sha256": digests}
    return _text(content | {"seal": _seal(content)})


def _seal(manifest: dict) -> str:
    """A digest of all else in the manifest."""
    sealed = {name: value for name, value in manifest.items() if name != "seal"}
    text = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _text(manifest: dict) -> bytes:
    return (json.dumps(manifest, indent=2) + "\n").encode()


def _parsed(manifest: bytes) -> dict:
    try:
        parsed = json.loads(manifest)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
