"""metadata.json of a dataset: how its format is known, and how damage to its files shows.

From version 3.0.0 of the datasets, the file has these keys (README.md of the builder lists what
they mean):

    format, vocabulary, channels, pixel_size, build, statistics, digests, records, files, sha256

Design:
- A chain of proofs, each cheap: `sha256` is of everything else in metadata.json; `files` has the
  SHA-256 of each small file beside it; `records` has a digest of the data CRCs of each shard. An
  index that is opened is compared with it, and a record that is read with its index. So a dataset
  is known to be the one that was built before any image is read, and no shard is read for it.
- The shards themselves are not hashed: each of their records has a CRC, which every read checks.
- Older datasets have none of this, and are read as they are.
- A dataset that TFDS alone has written (`tfds build`) has neither `records` nor `files`.

No TensorFlow, no TFDS: the builder's worker processes read this too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpa_jax.data.shard_index import REMEDY
from hpa_jax.errors import InputError, one_line

FORMAT = 3
"""The newest format that is read and written: the first number of a dataset's version."""

FILE_NAME = "metadata.json"

_DIGEST = "sha256"
_SEALED_SINCE = 3
# Tables are checked where they are read: they can be large, and no training looks at them.
_TABLE_SUFFIX = ".csv"


def format_of(version: str) -> int:
    """The format of a version: 3 of `3.0.0`."""
    return int(version.partition(".")[0])


def seal(values: Mapping[str, Any]) -> dict:
    """Adds a digest of all other values, or replaces it.

    Raises:
      ValueError: a number is not finite.
    """
    # As it will be read again: tuples are lists there.
    plain = json.loads(json.dumps(dict(values), allow_nan=False))
    plain.pop(_DIGEST, None)
    return {**plain, _DIGEST: _digest(plain)}


def _digest(values: Mapping[str, Any]) -> str:
    others = {key: value for key, value in values.items() if key != _DIGEST}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_metadata(folder: Path) -> dict:
    """Reads metadata.json of the dataset in `folder`, whose name is the version.

    Returns:
      Its contents; empty for an older dataset without that file.

    Raises:
      InputError: it is damaged, or missing where it has to be; or the dataset is of a newer format.
    """
    number = format_of(folder.name)
    if number > FORMAT:
        raise _newer(folder, number)
    path = folder / FILE_NAME
    sealed = number >= _SEALED_SINCE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if sealed:
            raise InputError(f"{path}: missing: {REMEDY}") from None
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}): {REMEDY}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no object: {REMEDY}")
    if sealed:
        if found.get(_DIGEST) != _digest(found):
            raise InputError(f"{path}: damaged, its digest does not fit: {REMEDY}")
        if found.get("format") != number:
            raise _newer(folder, found.get("format"))
    return found


def _newer(folder: Path, number: Any) -> InputError:
    return InputError(
        f"{folder}: a dataset of format {number}; this version of hpa_jax reads up to {FORMAT}: "
        "upgrade hpa_jax, or move that folder away to read an older version of the dataset"
    )


def check_file(folder: Path, metadata: Mapping[str, Any], name: str) -> None:
    """Checks the file `name` against its digest in the metadata, if it has one there.

    Raises:
      InputError: it is another file, or cannot be read.
    """
    wanted = metadata.get("files", {}).get(name)
    if wanted is None:
        return
    path = folder / name
    try:
        found = file_digest(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}): {REMEDY}") from None
    if found != wanted:
        raise InputError(
            f"{path}: not the file that was built, by its digest in {FILE_NAME}: {REMEDY}"
        )


def check_files(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Checks all files that the metadata have digests of, except the tables.

    Raises:
      InputError: as of `check_file`.
    """
    for name in metadata.get("files", {}):
        if not name.endswith(_TABLE_SUFFIX):
            check_file(folder, metadata, name)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def records_digest(crcs: np.ndarray) -> str:
    """SHA-256 over the masked CRCs of the data of a shard's records, in order; 64 hex digits."""
    return hashlib.sha256(np.ascontiguousarray(crcs, "<u4").tobytes()).hexdigest()


def statistics_fault(mean: Any, std: Any, channels: int) -> str | None:
    """Says why these cannot be the channel statistics of 8-bit images, or None.

    Args:
      mean, std: of each channel, as fractions of 255. The std of a channel that is the same
        everywhere is stored as 1.
      channels: number of channels.
    """
    if len(mean) != channels or len(std) != channels:
        return f"{len(mean)} means and {len(std)} stds for {channels} channels"
    # Written so that NaN is a fault as well.
    for value in mean:
        if not 0 <= value <= 1:
            return f"a mean of {value:g}, not within 0 to 1"
    for value in std:
        if not 0 < value <= 1:
            return f"a std of {value:g}, not above 0 and up to 1"
    return None
