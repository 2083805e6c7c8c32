"""The mark that a folder carries which this program fills: its kind, format and version.

What the program deletes or writes over proves that it is the program's own. A name proves nothing:
many programs have a `manifest.json`, a `checkpoints` or a `download.part`.
"""

import json
import os
import stat
from pathlib import Path

import hpa_jax
from hpa_jax.files import write_atomically

MARK = ".hpa_jax.json"
FORMAT = 1


def write_mark(folder: Path, kind: str) -> None:
    """Marks a folder as one that this program fills.

    Args:
      folder: which exists.
      kind: what it is, such as "download".
    """
    write_atomically(folder / MARK, mark_text(kind))


def mark_text(kind: str) -> str:
    mark = {
        "program": "hpa_jax",
        "version": hpa_jax.__version__,
        "format": FORMAT,
        "kind": kind,
    }
    return json.dumps(mark, indent=2) + "\n"


def has_mark(folder: Path, kind: str) -> bool:
    """Whether `write_mark` has marked this folder as of this kind."""
    path = folder / MARK
    try:
        if folder.is_symlink() or not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        mark = json.loads(path.read_bytes())
        return (mark["program"], mark["kind"]) == ("hpa_jax", kind) and mark["format"] >= 1
    except (OSError, ValueError, KeyError, TypeError):
        return False
