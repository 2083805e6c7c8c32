"""An export: its files, their digests, and how to load and run it.

Needs jax, flatbuffers, numpy and safetensors only: no configuration and no training code; checking
the digests needs Python alone. Nothing is read before its digest has been checked, and nothing in
the folder is a pickle.

manifest.json carries the format of the export, and a digest of itself. That of version 0.1 and 0.2,
format 1, has neither; it is read as well.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hpa_jax
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import write_atomically
from hpa_jax.folders.mark import MARK, has_mark

if TYPE_CHECKING:
    import numpy as np

PARAMETERS = "model.safetensors"
FORWARD = "forward.jaxexport"
DESCRIPTION = "model.json"
GOLDEN = "golden.safetensors"
FILES = (PARAMETERS, FORWARD, DESCRIPTION, GOLDEN)
MANIFEST = "manifest.json"

FORMAT = 2
"""Of an export. It rises when a reader of the one before could not read it."""

TOLERANCE = 1e-5
"""Largest absolute difference of probabilities between the exporting and the checking machine."""

INSTALL = "pip install jax numpy safetensors flatbuffers"

_EXPORT_AGAIN = "remove it and export it again"
_LONGEST_REASON = 160


@dataclass(frozen=True)
class Served:
    """A loaded export.

    Attributes:
      folder: where the export lies.
      description: the contents of model.json.
      parameters: float32 arrays by flat name.
      forward: jitted `(parameters, uint8 [B, H, W, 4]) -> float32 [B, L]`.
    """

    folder: Path
    description: dict
    parameters: "dict[str, np.ndarray]"
    forward: Callable

    def probabilities(self, images: "np.ndarray") -> "np.ndarray":
        """The probability of each label.

        Args:
          images: uint8 `[B, H, W, 4]` of the exported size: red, green, blue, yellow. Any B.

        Returns:
          float32 `[B, L]`, labels in the order of `description["labels"]`.

        Raises:
          InputError: another dtype or shape.
        """
        import numpy as np

        expected = self.description["input"]["shape"]
        if images.dtype != np.uint8 or list(images.shape[1:]) != expected[1:]:
            raise InputError(
                f"images of {images.dtype} {images.shape}; the net takes uint8 {expected}"
            )
        return np.asarray(self.forward(self.parameters, images))

    def check_golden(self) -> float:
        """Runs the golden input; returns the largest difference from the golden output.

        Raises:
          InputError: the difference is above TOLERANCE, or not a number.
        """
        import numpy as np
        from safetensors.numpy import load

        golden = load(_read_checked(self.folder, GOLDEN, check_digests(self.folder)))
        probabilities = self.probabilities(golden["images"])
        difference = float(np.abs(probabilities - golden["probabilities"]).max())
        # Written so that a NaN is refused as well.
        if not difference <= TOLERANCE:
            raise InputError(
                f"{self.folder}: the output differs from the golden output by {difference:.1e}, "
                f"more than {TOLERANCE}; do not serve it"
            )
        return difference


def load(folder: Path | str) -> Served:
    """Checks every digest, then loads an export.

    Raises:
      InputError: a file is missing, a byte of it was changed, or a package is missing here.
    """
    folder = local_path(folder)
    digests = check_digests(folder)
    contents = {}
    for name in (DESCRIPTION, PARAMETERS, FORWARD):
        contents[name] = _read_checked(folder, name, digests)
    # Only who loads an export waits for JAX.
    try:
        import jax
        from jax import export
        from safetensors.numpy import load as load_arrays
    except ImportError as error:
        raise _missing_package(folder, error) from error

    # Digests agree: what is wrong from here on was exported so, or this machine's packages differ.
    try:
        description = json.loads(contents[DESCRIPTION])
        parameters = load_arrays(contents[PARAMETERS])
        exported = export.deserialize(bytearray(contents[FORWARD]))
    except ImportError as error:
        raise _missing_package(folder, error) from error
    except Exception as error:  # JAX, flatbuffers and safetensors have a type of error each
        raise InputError(
            f"{folder} cannot be loaded by jax {jax.__version__} "
            f"({one_line(error, limit=_LONGEST_REASON)}); install the version that model.json "
            "names, or export it again"
        ) from error
    return Served(folder, description, parameters, jax.jit(exported.call))


def _missing_package(folder: Path, error: ImportError) -> InputError:
    return InputError(
        f"{folder}: its digests agree, but a package to run it is missing or too old "
        f"({one_line(error, limit=_LONGEST_REASON)}): {INSTALL}"
    )


def check_digests(folder: Path | str) -> dict[str, str]:
    """Checks an export without running it: Python's own library is enough.

    Returns:
      The SHA-256 of each of FILES, hex, as recorded and as found.

    Raises:
      InputError: a file is missing, or a byte of it was changed; or a format of later versions.
    """
    folder = Path(folder)
    try:
        digests = _digests(folder)
        manifest = _read(folder / MANIFEST)
    except OSError as error:
        path = error.filename or folder
        raise InputError(
            f"{folder} is no complete export: {path} cannot be read ({one_line(error)}); "
            "copy or export it again"
        ) from error
    recorded = _parsed(manifest)
    # Texts are compared: a changed byte of the manifest itself is refused as well.
    if manifest == _manifest_text(recorded, digests):
        return digests
    number = recorded.get("format", 1)
    if recorded.get("seal") == _seal(recorded) and number != FORMAT:
        raise InputError(
            f"{folder} is an export of format {number}; this is hpa_jax {hpa_jax.__version__}, "
            f"which reads formats up to {FORMAT}: install a later version"
        )
    listed = recorded.get("sha256")
    if not isinstance(listed, dict):
        listed = {}
    changed = [name for name in FILES if listed.get(name) != digests[name]]
    # All of them: then it is the manifest that is none, or another's.
    is_manifest = len(changed) in (0, len(FILES))
    culprit = folder / (MANIFEST if is_manifest else changed[0])
    raise InputError(f"{culprit} is not what was exported (SHA-256 differs); {_EXPORT_AGAIN}")


def write_manifest(folder: Path) -> None:
    """Writes the digests of the folder's files into manifest.json."""
    manifest = {
        "program": "hpa_jax",
        "version": hpa_jax.__version__,
        "format": FORMAT,
    }
    write_atomically(folder / MANIFEST, _manifest_text(manifest, _digests(folder)))


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
    others = sorted(names - {*FILES, MANIFEST})
    if others:
        return f"it holds {others[0]}, which is no export's"
    try:
        check_digests(folder)
    except InputError as error:
        return f"it is no export as it was written ({error})"
    return ""


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for name in FILES:
        with _opened(folder / name) as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _opened(path: Path) -> Any:
    # Opening a pipe would wait for someone to write.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "not a file", str(path))
    return open(path, "rb")


def _read(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()


def _read_checked(folder: Path, name: str, digests: dict[str, str]) -> bytes:
    """The bytes of a file, which are those that were hashed and no later ones."""
    content = _read(folder / name)
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise InputError(f"{folder / name} changes while it is read; copy the export elsewhere")
    return content


def _manifest_text(manifest: dict, digests: dict[str, str]) -> bytes:
    """What manifest.json has to be, byte for byte, where the files have these digests."""
    if "format" not in manifest:
        return _text({"sha256": digests})
    head = {name: manifest.get(name) for name in ("program", "version")}
    content = {**head, "format": FORMAT, "sha256": digests}
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
