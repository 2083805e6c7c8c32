"""Paths as people write them, made into paths of this machine: `~` is home, `gs://` a local copy.

Every path that a person gives passes through here once, where it enters: flags of all programs,
settings of a configuration, arguments of the public functions. Shells leave `~` alone in
`--workdir=~/runs`, and a folder that is really named `~` can be given as `./~`.
"""

import os
import re
from pathlib import Path

from hpa_jax.buckets import mounts
from hpa_jax.buckets.url import is_bucket_url, parse
from hpa_jax.errors import InputError

# Also with the one slash that pathlib leaves of two. A single letter would be a drive of Windows.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def expand_path(path: str | Path, name: str = "") -> str:
    """The path with `~` and `~user` replaced by their folders; an empty text stays empty.

    A place in a bucket, `gs://BUCKET/FOLDER`, stays as it is.

    Args:
      path: as it was given.
      name: of the flag or setting, for messages: "--workdir".

    Raises:
      InputError: another URL, a home folder that is not known, or a text that can be no path.
    """
    text = os.fspath(path)
    if text.startswith(" ") and text.lstrip().startswith("~"):
        # In a list with a space after the comma.
        text = text.lstrip()
    shown = f"{name}={text}" if name else text
    if is_bucket_url(text):
        return str(parse(text, shown))
    if _URL.match(text):
        raise InputError(
            f"{shown}: neither a local path nor gs://BUCKET/FOLDER: mount it, or copy what it holds"
        )
    if not _is_utf8(text):
        # It could be written into no JSON file, and libraries in C++ would fail on it.
        raise InputError(
            f"{shown}: a name that is not UTF-8; rename it, or, if it is in your terminal, set "
            "PYTHONUTF8=1"
        )
    if "\0" in text:
        raise InputError(f"{shown!r} holds a zero byte, which no path may")
    if not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        user = text.partition("/")[0]
        raise InputError(
            f"{shown}: the home folder {user} is not known here (HOME is not set, or there is no "
            f"such user); write the whole path, or ./{text} for a folder of that name"
        )
    return expanded


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def local_path(path: str | Path, name: str = "", within: str = "") -> Path:
    """`expand_path` as a `Path`; of a place in a bucket the local copy, which is made now.

    Args:
      path, name: as of `expand_path`.
      within: the part of a folder of a bucket that is read, such as `hpa/`; "": all of it.
    """
    text = expand_path(path, name)
    if not is_bucket_url(text):
        return Path(text)
    return mounts.local_copy(text, f"{name}={text}" if name else text, within)


def path_flag(name: str, buckets: bool = False, within: str | None = None):
    """A `type=` of argparse for the flag `name`; what it raises is an InputError.

    An empty text is refused: it is a variable of the shell that is not set, and would become the
    current folder.

    Args:
      name: of the flag.
      buckets: whether it may be a place in a bucket.
      within: the part of that place that is read, which then may be one; None: see `buckets`.
    """

    def convert(text: str) -> Path:
        if not text:
            raise InputError(f"{name or 'a path'} is empty; give a path, or . for this folder")
        if is_bucket_url(text) and not buckets and within is None:
            raise InputError(
                f"{name or 'a path'}={text}: this program takes no bucket here: copy what it holds"
            )
        return local_path(text, name, within or "")

    return convert
