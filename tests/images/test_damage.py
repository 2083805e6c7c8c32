"""Random damage and bombs: an image or a reason, and bounded memory."""

import random
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.image_files import encoded, jpg, smooth
from support.image_rules import ANY

from hpa_jax.images import channel_file, png
from hpa_jax.images.store import Refused

ROOT = Path(__file__).parents[2]


FUZZED = {
    "PNG": (lambda: encoded(smooth(), "png"), 0),  # fraction of flips that may pass unseen
    "PNG, 16 bits": (lambda: encoded(smooth(top=65535), "png"), 0),
    "TIFF, deflated": (lambda: encoded(smooth(), "tiff", compression="tiff_deflate"), 0.5),
    "TIFF, LZW": (lambda: encoded(smooth(), "tiff", compression="tiff_lzw"), 1),
    "TIFF": (lambda: encoded(smooth(top=65535), "tiff"), 1),
    "JPG": (lambda: jpg(smooth(), "green"), 1),
    "JPG, progressive": (lambda: jpg(smooth(), "green", progressive=True), 1),
}


@pytest.mark.parametrize("kind", FUZZED)
def test_random_damage_gives_an_image_or_a_reason(kind, capfd):
    make, unseen = FUZZED[kind]
    data = make()
    rule = ANY
    right = channel_file.read(data, rule, "green")
    rng = random.Random(1)
    passed = 0
    for number in range(300):
        bad = bytearray(data)
        for _ in range(1 if number % 2 else 8):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        if number % 7 == 0:
            del bad[rng.randrange(len(bad)) :]
        try:
            read = channel_file.read(bytes(bad), rule, "green")
        except Refused as refused:
            assert "; " in str(refused) and "\n" not in str(refused)
            continue
        assert read.dtype == np.uint8 and read.ndim == 2
        passed += not np.array_equal(read, right)
    assert passed <= unseen * 300
    assert capfd.readouterr().err == ""  # the C libraries' lines stay out of the way


BOMBS = r"""
import sys
from pathlib import Path
from hpa_jax.images import channel_file, disk_folder, store, zip_file
from hpa_jax.images.rule import any_image
from hpa_jax.images.store import Refused

folder = Path(sys.argv[1])
inside = disk_folder.Folder(folder)
places = {"png": inside, "tif": inside, "zip": zip_file.Zip(folder / "all.zip")}
for name, place in places.items():
    try:
        rule = any_image()
        channel_file.scan(place, f"bomb.{name}", rule)
        print(name, channel_file.read(store.read(place, f"bomb.{name}"), rule, "green").shape)
    except Refused as refused:
        print(name, refused)
# Its own peak: ru_maxrss starts from that of the process that it was forked from.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


def test_bombs_do_not_fill_the_memory(tmp_path):
    """Each claims to be an image, and unpacks to 671 MB."""
    packing = zlib.compressobj(1)
    bomb = b"".join(packing.compress(bytes(2**24)) for _ in range(40)) + packing.flush()

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4096, 4096, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(
        png.SIGNATURE + head + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    )
    entries = [
        (256, 64),
        (257, 64),
        (258, 8),
        (259, 8),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, 64),
        (279, len(bomb)),
    ]
    body = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries
    )
    (tmp_path / "bomb.tif").write_bytes(
        (b"II*\0" + struct.pack("<I", 8) + body).ljust(200, b"\0") + bomb
    )
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("bomb.zip", bomb[2:-4])
    data = bytearray((tmp_path / "all.zip").read_bytes())
    at = data.rindex(b"PK\x01\x02")
    struct.pack_into("<H", data, at + 10, zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", data, at + 24, 5000)  # what it claims to hold
    (tmp_path / "all.zip").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, peak = done.stdout.splitlines()
    assert lines == [
        "png (4096, 4096)",  # nothing is unpacked beyond what its header says
        "tif is damaged: wrong checksum or length of its pixel data; download it again",
        "zip is not a PNG, TIFF or JPEG; download it again",
    ]
    assert int(peak) < 500, f"{peak} MB"
    assert done.stderr == ""
