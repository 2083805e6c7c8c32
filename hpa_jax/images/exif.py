"""The orientation that cameras write into JPG and PNG files as EXIF.

Design: a file that is not upright is refused, in every format. Turning it would be right for the
image alone, and wrong beside a mask or another channel whose program ignored the note.
"""

import struct

from hpa_jax.images.store import Refused

_ORIENTATION = 0x0112
_SHORT = 3
_UPRIGHT = (0, 1)
_MAX_ENTRIES = 512


def check_upright(exif: bytes) -> None:
    """Raises Refused if EXIF says that the image must be rotated or mirrored.

    Args:
      exif: starts as a TIFF file does. What cannot be read says nothing.
    """
    orientation = _orientation(exif)
    if orientation not in _UPRIGHT:
        raise Refused(
            f"must be rotated or mirrored to be viewed (EXIF orientation {orientation}); "
            "save it upright"
        )


def _orientation(exif: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for number in range(min(count, _MAX_ENTRIES)):
            place = start + 2 + 12 * number
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, place)
            if tag == _ORIENTATION and kind == _SHORT:
                return value if value <= 8 else 1
    except struct.error:
        pass
    return 1
