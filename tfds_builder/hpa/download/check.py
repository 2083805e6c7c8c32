"""Tells whether a JPG is whole: by its header and end marker, which is cheap, or by decoding all of it.

Unusual: nothing of its own. What the builder would refuse later is refused here, by the same code (`jpg.py`).
"""

import io
from pathlib import Path
from typing import BinaryIO

from tfds_builder.hpa.files import jpg
from tfds_builder.hpa.files.store import Refused


def fault(data: bytes) -> str:
    """What keeps `data` from being a whole JPG that decodes, in words; empty if nothing does."""
    return _fault(io.BytesIO(data), fully=True)


def fault_of_file(path: Path, fully: bool = False) -> str:
    """The same of a file: by its header and end marker alone, unless `fully`.

    Raises:
      OSError: it is missing or cannot be read.
    """
    with open(path, "rb") as file:
        return _fault(file, fully)


def _fault(file: BinaryIO, fully: bool) -> str:
    head = file.read(64)
    if not head:
        return "is empty (0 bytes)"
    if not head.startswith(b"\xff\xd8\xff"):
        text = head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"<", b"{"))
        return f"is not a JPG but {'a web page or other text' if text else 'something else'}"
    file.seek(0)
    try:
        header = jpg.scan(file)
        if fully:
            file.seek(0)
            jpg.decode(file.read(), header)
    except Refused as error:
        return str(error).partition("; ")[
            0
        ]  # without the advice: the caller does something about it
    return ""
