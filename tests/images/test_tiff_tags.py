"""TIFF files whose tags are not those of a single image: refused in one line, in bounded memory."""

import io
import struct
import tracemalloc

import pytest
from support.image_files import encoded, smooth
from support.image_rules import ANY

from hpa_jax.images import channel_file
from hpa_jax.images.store import Refused
from hpa_jax.images.tiff.directories import MAX_TAG_BYTES

SHORT, LONG, ASCII, FLOAT = 3, 4, 2, 11
WIDTH, STRIP_OFFSETS = 256, 273


def patched(tag, kind, count, value, next_page=0):
    """A plain TIFF in which one tag has another type, count and value, followed by `next_page`."""
    data = bytearray(encoded(smooth(), "tiff"))
    (start,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, start)
    places = [start + 2 + 12 * number for number in range(tags)]
    (place,) = [at for at in places if struct.unpack_from("<H", data, at)[0] == tag]
    struct.pack_into("<HHI4s", data, place, tag, kind, count, value)
    struct.pack_into("<I", data, start + 2 + 12 * tags, next_page)
    return bytes(data)


def scan(data):
    return channel_file.scan_file(io.BytesIO(data), ANY)


def test_the_patched_file_is_read_if_nothing_is_changed():
    header = scan(patched(WIDTH, SHORT, 1, struct.pack("<I", 48)))
    assert (header.height, header.width, header.colour) == (40, 48, "gray")


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [(ASCII, 3, b"48\0\0"), (FLOAT, 1, struct.pack("<f", 48)), (SHORT, 0, bytes(4))],
)
def test_a_width_that_is_no_integer(kind, count, value):
    with pytest.raises(Refused, match="has a damaged tag ImageWidth|claims 0 x 40 pixels"):
        scan(patched(WIDTH, kind, count, value))


@pytest.mark.parametrize(
    ("next_page", "words"),
    [
        (8, "has directories that form a circle; |is cut short, or its directory"),
        (10**6, "says that its next page starts at byte 1000000, beyond its end at "),
        (2**32 - 1, "says that its next page starts at byte 4294967295, beyond its end at "),
    ],
)
def test_a_next_page_wherever_it_is(next_page, words):
    """A truncated file of several pages must not pass for its first one."""
    data = patched(WIDTH, SHORT, 1, struct.pack("<I", 48), next_page)
    with pytest.raises(Refused, match=words):
        scan(data)


def test_tags_of_many_megabytes_are_not_loaded():
    """As integers of Python they would take ten times the file."""
    count = 5 * 10**6
    data = patched(STRIP_OFFSETS, LONG, count, struct.pack("<I", 8)) + bytes(4 * count)
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="has too many tags; save"):
            scan(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MAX_TAG_BYTES
