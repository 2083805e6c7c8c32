"""Finds the file of weights: given by its path, as an export's folder, or by a name of SOURCES."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.folders.export_manifest import FILES, PARAMETERS, check_digests, recorded_digest
from hpa_jax.pretrained.formats import is_index, keys_by_file
from hpa_jax.pretrained.sources import SOURCES, Source, names_for

_CHUNK = 1 << 20


class Located(NamedTuple):
    """A file of weights.

    Attributes:
      path: of the file.
      sha256: of its content, hex.
      published: the source that it is, told by its digest; None if it is none.
      parts: SHA-256 of each file that it names, by name, if it is an index; else empty.
    """

    path: Path
    sha256: str
    published: Source | None
    parts: Mapping[str, str] = MappingProxyType({})


def locate(source: str, net: str, cache: Path | None) -> Located:
    """Finds the file, and downloads it where `source` is a name of SOURCES.

    Args:
      source: `config.model.pretrained`.
      net: one of hpa_jax.models.BACKBONES.
      cache: folder of downloads; None: the user's.

    Raises:
      InputError: there is no such file, it is of another net, or of an export and was changed.
    """
    if source in SOURCES:
        return _published(source, net, cache)
    path = local_path(source, "config.model.pretrained")
    if path.is_dir():
        if all((path / name).is_file() for name in FILES):
            check_digests(path)
        path = _file_of_folder(path)
    if not path.is_file():
        raise InputError(
            f"config.model.pretrained={source!r} is no file, no export's folder and no source; "
            f"sources are {', '.join(SOURCES)}"
        )
    digests = _digests(path)
    if is_index(path):
        parts = {name: _digests(path.parent / name)["sha256"] for name in keys_by_file(path)}
        return Located(path, digests["sha256"], None, parts)
    # Of a file of an export, named by itself.
    if recorded_digest(path.parent, path.name) not in (None, digests["sha256"]):
        raise InputError(f"{path} is not what was exported (SHA-256 differs); copy it again")
    return Located(path, digests["sha256"], _recognized(digests, net))


def _file_of_folder(folder: Path) -> Path:
    """The weights of an export, or the index of weights in several files."""
    path = folder / PARAMETERS
    if path.is_file():
        return path
    indexes = sorted(file for file in folder.iterdir() if is_index(file))
    if len(indexes) > 1:
        names = ", ".join(index.name for index in indexes)
        raise InputError(f"{folder} has several indexes of weights ({names}); give one of them")
    return indexes[0] if indexes else path


def _published(name: str, net: str, cache: Path | None) -> Located:
    source = SOURCES[name]
    if source.net != net:
        fitting = names_for(net)
        found = f"there are {', '.join(fitting)}" if fitting else "there are none"
        raise InputError(
            f"config.model.pretrained={name!r} is of {source.net}, config.model.name={net!r} is "
            f"not; for this net {found}"
        )
    # Imported here: its HTTP library takes 0.15 s, and few runs download.
    from hpa_jax.pretrained.fetch import fetch

    path, sha256 = fetch(source, cache)
    return Located(path, sha256, source)


def _digests(path: Path) -> dict[str, str]:
    """Both kinds that publishers give, in one pass."""
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
    return {"sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def _recognized(digests: dict[str, str], net: str) -> Source | None:
    for name in names_for(net):
        source = SOURCES[name]
        for published in (source.digest, source.without_top):
            kind, _, digits = published.partition(":")
            if digits and digests[kind].startswith(digits):
                return source
    return None
