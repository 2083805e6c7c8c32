"""Fetches the files of a public list, each only with a digest that somebody states.

A file is written completely or not at all, and only once its SHA-256 is the one that is known here
or that the user has given. Without one nothing is written: the digest that was found is told, so
that it can be compared with a copy that the user trusts.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from hpa_jax.environment.causes import advice
from hpa_jax.errors import InputError, RunStopped, one_line
from hpa_jax.files import write_atomically
from hpa_jax.http_fetch import Failed, HttpClient, Policy
from tfds_builder.hpa.lists import antibodies
from tfds_builder.hpa.lists.catalog import TEST, TRAIN, VALIDATION, ListFile, PublicList


class Found(NamedTuple):
    """A file of a list, here or at its publisher.

    Attributes:
      file: which one.
      data: its contents.
      sha256: of them.
      is_new: whether it was fetched now.
    """

    file: ListFile
    data: bytes
    sha256: str
    is_new: bool


def fetch(
    public: PublicList,
    folder: Path,
    *,
    url: str,
    digests: Mapping[str, str],
    policy: Policy,
    log: Callable[[str], None],
) -> list[str]:
    """Fetches the files of a list that are not in the folder.

    Args:
      public: the list.
      folder: where its files go.
      url: of the folder of its files at a host.
      digests: SHA-256 of files by name, that the user states.
      policy: of the download.
      log: takes a line before each retry.

    Returns:
      what there is now, a line each.

    Raises:
      InputError: a file is none of that list, has another digest, or no digest of it is known.
      RunStopped: the host does not give it.
    """
    client = HttpClient(policy, log=log)
    found = []
    try:
        for file in public.files:
            found.append(_get(file, folder, url, client))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({one_line(error)}); {advice(error)}") from None
    lines = _check_together(public, found)
    _check_digests(found, digests)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            if one.is_new:
                write_atomically(folder / one.file.name, one.data)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {one_line(error)}; {advice(error)}") from None
    for one in found:
        state = "fetched" if one.is_new else "there already"
        lines.append(f"{folder / one.file.name}: {state}, SHA-256 {one.sha256}")
    return lines


def _get(file: ListFile, folder: Path, url: str, client: HttpClient) -> Found:
    """The file in the folder, or else the host's; checked alone."""
    path = folder / file.name
    is_new = not path.exists()
    if is_new:
        address = f"{url.rstrip('/')}/{file.name}"
        try:
            data = client.get(address, lambda data: "" if data else "is empty")
        except Failed as error:
            raise RunStopped(f"{address} {error}; --url names another folder with it") from None
    else:
        data = path.read_bytes()
    _check_kind(file, data)
    return Found(file, data, hashlib.sha256(data).hexdigest(), is_new)


def _check_kind(file: ListFile, data: bytes) -> None:
    """Refuses what is no such list or table, such as a web page."""
    if file.split:
        antibodies.antibodies(data, file)
        return
    first = io.StringIO(data[: 1 << 16].decode("utf-8-sig", "replace"))
    header = next(csv.reader(first), [])
    for column in file.columns:
        if column not in header:
            raise InputError(
                f"{file.name} has no column {column} in its first line; it is another file than "
                "the one that is known"
            )


def _check_digests(found: list[Found], digests: Mapping[str, str]) -> None:
    unknown = []
    for one in found:
        wanted = digests.get(one.file.name) or one.file.sha256
        if not wanted:
            unknown.append(f"--sha256={one.file.name}={one.sha256}")
        elif wanted != one.sha256:
            raise InputError(
                f"{one.file.name} has the SHA-256 {one.sha256}, not {wanted}; nothing was written"
            )
    if unknown:
        raise InputError(
            "no digest of these files is known here, and nothing was written: compare them with a "
            f"copy that you trust and start again with {' '.join(unknown)}"
        )


def _check_together(public: PublicList, found: list[Found]) -> list[str]:
    """What the lists of antibodies are together, a line each.

    Raises:
      InputError: an antibody is in two of them.
    """
    if not public.of_split():
        return []
    split = antibodies.of_contents(public, {one.file.name: one.data for one in found})
    numbers = []
    for name in (TRAIN, VALIDATION, TEST):
        numbers.append(f"{name} {sum(found == name for found in split.split_of.values())}")
    line = f"{len(split.split_of)} antibodies ({', '.join(numbers)}); 0 of them in two lists."
    return [line, *split.remarks]
