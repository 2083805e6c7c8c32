"""Zips that lie about their members, or have some that no folder could have."""

import stat
import struct
import tracemalloc
import zipfile

import pytest

from hpa_jax.errors import InputError
from hpa_jax.images.listing import list_images
from hpa_jax.images.store import Refused, read
from hpa_jax.images.zip_file import Zip


def made(tmp_path, *members):
    """A zip of (name or ZipInfo, bytes)."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return Zip(path)


def claiming(images, size):
    """The same zip, whose first member claims another size."""
    packed = bytearray(images.path.read_bytes())
    # Behind the signature of the file's head, and of the directory's entry.
    for at in (22, packed.index(b"PK\x01\x02") + 24):
        struct.pack_into("<I", packed, at, size)
    images.path.write_bytes(packed)
    return Zip(images.path)


def test_no_more_is_unpacked_than_a_member_claims(tmp_path):
    images = claiming(made(tmp_path, ("a.png", bytes(2**25))), 1000)
    images.has("a.png")
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="is damaged in its archive"):
            read(images, "a.png")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_member_with_fewer_bytes_than_it_claims(tmp_path):
    images = claiming(made(tmp_path, ("a.png", b"123")), 4)
    with pytest.raises(Refused, match="has fewer bytes than the zip says"):
        read(images, "a.png")


def test_a_name_that_is_there_twice(tmp_path):
    twice = ("aa.png", b"1"), ("bb.png", b"2"), ("cc.png", b"3"), ("dd.png", b"3")
    images = made(tmp_path, *twice)
    packed = images.path.read_bytes()
    images.path.write_bytes(packed.replace(b"bb.png", b"aa.png").replace(b"dd.png", b"cc.png"))
    with pytest.raises(Refused, match="is twice in the zip, with different bytes"):
        read(images, "aa.png")
    assert read(images, "cc.png") == b"3"


def test_a_link(tmp_path):
    link = zipfile.ZipInfo("a.png")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    images = made(tmp_path, (link, "/etc/passwd"))
    with pytest.raises(Refused, match="is a link, which leads nowhere in a zip"):
        read(images, "a.png")


@pytest.mark.parametrize("name", ["../a.png", "plate/../../a.png", "..\\a.png"])
def test_a_name_that_leads_out(tmp_path, name):
    with pytest.raises(InputError, match="whose name leads out of its folder"):
        list_images(made(tmp_path, (name, b"1")))
