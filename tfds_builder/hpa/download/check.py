"""Whether a JPG is complete: by its header and end marker, which is cheap, or by decoding it.

The builder's own reader (`files/jpg.py`) decides: what the builder would refuse is refused here.
"""

import io
from pathlib import Path
from typing import BinaryIO

from hpa_jax.images import jpg
from hpa_jax.images.store import Refused

_START = b"\xff\xd8\xff"
_TEXT_STARTS = (b"<", b"{")
_BLANK = b"\xef\xbb\xbf \r\n\t"  # a byte order mark and white space


def fault(data: bytes) -> str:
    """Why `data` is not a complete JPG that can be decoded; empty if it is one."""
    return _fault(io.BytesIO(data), decode=True)


def fault_of_file(path: Path, decode: bool = False) -> str:
    """Why a file is not a complete JPG, by its header and end marker alone unless `decode`.

    Raises:
      OSError: it is missing or cannot be read.
    """
    with open(path, "rb") as file:
        return _fault(file, decode)


def _fault(file: BinaryIO, decode: bool) -> str:
    head = file.read(64)
    if not head:
        return "is empty (0 bytes)"
    if not head.startswith(_START):
        is_text = head.lstrip(_BLANK).startswith(_TEXT_STARTS)
        found = "a web page or other text" if is_text else "something else"
        return f"is not a JPG but {found}"
    file.seek(0)
    try:
        header = jpg.scan(file)
        if decode:
            file.seek(0)
            jpg.decode(file.read(), header)
    except Refused as error:
        # Without its advice to the user, "download it again": the caller does that.
        reason, _, _ = str(error).partition("; ")
        return reason
    return ""
