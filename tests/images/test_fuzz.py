"""Thousands of damaged files: an image or one line, in bounded time and memory."""

import random
import resource
import struct
import subprocess
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
from support.awkward_files import awkward_files, written
from support.image_files import smooth
from support.mutations import mutations
from support.written_files import ASCII, SHORT, png_chunk, tiff

from hpa_jax.images import channel_file, image_file
from hpa_jax.images.rule import any_image
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS

RULES = (
    any_image(),
    any_image(projection="max", float_range=(0, 1)),
    any_image(projection="mean", white=4095),
)
WORDS = (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0")


def corpus():
    """The awkward files, and some with all channels in them."""
    four = np.stack([smooth((40, 48), seed=seed, top=65535) for seed in range(4)])
    eight = np.dstack([plane >> 8 for plane in four[:3]]).astype(np.uint8)
    named = {"axes": "CYX", "Channel": {"Name": list(CHANNELS)}}
    deep = np.stack([four, four])
    whole = [
        written(four, ome=True, metadata=named),
        written(deep, ome=True, metadata=named | {"axes": "ZCYX"}),
        written(four, imagej=True, metadata={"axes": "CYX", "Labels": list(CHANNELS)}),
        written(four, photometric="minisblack", metadata={"axes": "CYX"}, compression="lzw"),
        written(four, photometric="minisblack", planarconfig="separate", tile=(16, 16)),
        written(four[0].astype(np.float32), compression="zstd", predictor=3),
        written(eight, photometric="ycbcr", compression="jpeg", subsampling=(2, 2)),
    ]
    return [file.data for file in awkward_files() if file.data] + whole


def damaged(data, rng):
    """One of many kinds of damage, half of them where directories and headers are."""
    kind = rng.randrange(4)
    bad = bytearray(data)
    if kind == 0:
        return next(iter(mutations(data, 1, rng.randrange(2**32))))
    for _ in range(rng.choice((1, 1, 2, 4))):
        near_an_end = rng.choice((rng.randrange(300), len(bad) - 1 - rng.randrange(300)))
        place = rng.choice((near_an_end, rng.randrange(len(bad))))
        place = min(max(place, 0), len(bad) - 1)
        if kind == 1:
            bad[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            bad[place : place + 4] = rng.choice(WORDS)
        else:
            start = rng.randrange(len(bad))
            bad[place:place] = bad[start : start + rng.randrange(64)]
    return bytes(bad)


def readers(data, rule):
    yield lambda: channel_file.read_plane(data, rule, "green").pixels
    yield lambda: image_file.read_image(data, rule, None).pixels
    yield lambda: image_file.read_image(data, rule, CHANNELS).pixels


def check(count, seed):
    rng = random.Random(seed)
    files = corpus()
    refused = 0
    for _ in range(count):
        data = damaged(rng.choice(files), rng)
        for read in readers(data, rng.choice(RULES)):
            try:
                pixels = read()
            except Refused as error:
                message = str(error)
                assert message.isprintable() and "; " in message, message
                refused += 1
                continue
            assert pixels.dtype == np.uint8 and pixels.shape[-1]
    # Neither everything nor nothing.
    assert 0 < refused < 3 * count


def test_damage_is_an_image_or_one_line(capfd):
    check(600, seed=1)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_much_damage_is_an_image_or_one_line(seed, capfd):
    check(10_000, seed)
    assert capfd.readouterr().err == ""


def pages_of_one_strip(count, side=4096):
    """A small file of very many large pages: all share their only strip."""
    strip = zlib.compress(bytes(side * side), 9)
    start = 8 + len(strip)
    entries = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, side),
        (279, 4, 1, len(strip)),
    ]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    size = len(body) + 4
    pages = [body + struct.pack("<I", start + (page + 1) * size) for page in range(count - 1)]
    return b"II*\0" + struct.pack("<I", start) + strip + b"".join(pages) + body + bytes(4)


def lzw_bomb():
    packed = imagecodecs.lzw_encode(bytes(2**26))
    return tiff([packed], (64, 64), 8, [(259, SHORT, (5,))])


def jpeg_in_a_small_tile():
    """The stream inside claims 65,500 pixels a side."""
    data = written(np.zeros((64, 64), np.uint8), compression="jpeg")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 65500, 65500) + data[at + 4 :]


def many_planes_in_notes():
    notes = b"ImageJ=1.54f\nimages=2000000000\n\0"
    return tiff([bytes(4096)], (64, 64), 8, [(270, ASCII, notes)])


def many_chunks():
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"tEXt", b"") * 200_000


BOMBS = {
    "300 pages of one strip": (lambda: pages_of_one_strip(300), "claims 5033164800 bytes"),
    "5000 pages": (lambda: pages_of_one_strip(5000, 16), "has more than 4096 pages"),
    "LZW": (lzw_bomb, "is damaged: wrong checksum or length"),
    "a JPEG inside": (jpeg_in_a_small_tile, "claims 65500 x 65500 pixels"),
    "planes in notes": (many_planes_in_notes, "claims 2000000000 planes"),
    "chunks": (many_chunks, "has more than 131072 chunks"),
    "fill bytes": (lambda: b"\xff\xd8" + b"\xff" * 10**6, "has a damaged header"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_anything_is_unpacked(name):
    make, words = BOMBS[name]
    data = make()
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(Refused) as error:
        channel_file.read_plane(data, any_image(projection="max"), "green")
    assert words in str(error.value)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 10
    assert after.ru_maxrss - before.ru_maxrss < 100_000


LARGEST = r"""
import sys
from pathlib import Path
from hpa_jax.images import image_file
from hpa_jax.images.rule import any_image

start = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
data = Path(sys.argv[1]).read_bytes()
read = image_file.read_image(data, any_image(projection="mean"), ("red", "green", "blue", "yellow"))
assert read.pixels.shape == (4096, 4096, 4)
print((int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) - start) // 1024)
"""


def test_the_largest_image_takes_little_more_than_its_result(tmp_path):
    """Four channels of 4096 x 4096 px in two planes each are read plane by plane."""
    data = pages_of_one_strip(8)
    notes = b"ImageJ=1.54f\nimages=8\nchannels=4\nslices=2\nhyperstack=true\n\0"
    (start,) = struct.unpack_from("<I", data, 4)
    at = len(data)
    # In place of its samples a pixel, which are one anyway, the first page gets the notes.
    place = data.index(struct.pack("<HHII", 277, 3, 1, 1), start)
    patched = bytearray(data + notes)
    entries = data[start + 2 : place]
    patched[start + 2 : place + 12] = _sorted(
        entries + struct.pack("<HHII", 270, 2, len(notes), at)
    )
    (tmp_path / "large.tif").write_bytes(patched)
    done = subprocess.run(
        [sys.executable, "-c", LARGEST, str(tmp_path / "large.tif")],
        capture_output=True,
        text=True,
        check=True,
    )
    # 64 MB of pixels, a sum of 64 MB, and a plane while it is unpacked and scaled.
    assert int(done.stdout) < 300


def _sorted(entries):
    each = [entries[at : at + 12] for at in range(0, len(entries), 12)]
    return b"".join(sorted(each, key=lambda entry: struct.unpack_from("<H", entry)[0]))
