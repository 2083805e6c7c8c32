"""Zips of strangers."""

import io
import struct
import tracemalloc
import zipfile

import pytest

from hpa_jax.images.store import DAMAGE, Refused, read
from hpa_jax.serving.server.archive import Archive, Parts
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.refusal import Refusal

LIMITS = Limits(body=2**20, unpacked=2**22, members=20)


def zipped(files, method=zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def test_files_are_those_that_were_packed():
    files = {"a.png": b"1", "b/c.png": bytes(10_000), "b/": b"", "é/ü.png": b"2"}
    archive = Archive(zipped(files), LIMITS)
    assert archive.names() == ["a.png", "b/c.png", "é/ü.png"]
    for name in archive.names():
        assert read(archive, name) == files[name]
    assert archive.has("a.png") and not archive.has("x") and archive.has_folder("b")
    with pytest.raises(Refused, match="is missing"):
        archive.open("x")


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "a/../../b.png", "..\\a.png", "C:\\a.png", "\\a.png", ".."]
)
def test_names_that_lead_out_are_refused(name):
    with pytest.raises(Refusal, match="422") as caught:
        Archive(zipped({"good.png": b"1", name: b"1"}), LIMITS)
    assert "leads out" in caught.value.text and "etc" not in caught.value.text


def test_a_directory_that_is_too_long_is_not_parsed():
    with pytest.raises(Refusal, match="413"):
        Archive(zipped({f"{i}.png": b"" for i in range(21)}), LIMITS)


def test_what_is_claimed_is_bounded_before_it_is_unpacked():
    many = {f"{i}.png": bytes(2**19) for i in range(9)}
    with pytest.raises(Refusal, match="413") as caught:
        Archive(zipped(many), LIMITS)
    assert str(9 * 2**19) in caught.value.text
    archive = Archive(zipped({"a.png": bytes(2**20 + 1)}), LIMITS)
    with pytest.raises(Refused, match="claims 1048577 bytes"):
        archive.open("a.png")


def test_a_file_that_unpacks_to_more_than_it_claims_costs_no_memory():
    packed = bytearray(zipped({"a.png": bytes(2**25)}))
    # Behind the signature of the file's head, and of the directory's entry.
    for at in (22, packed.index(b"PK\x01\x02") + 24):
        assert packed[at : at + 4] == struct.pack("<I", 2**25)
        packed[at : at + 4] = struct.pack("<I", 1000)
    lying = bytes(packed)
    archive = Archive(lying, LIMITS)
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            read(archive, "a.png")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_encrypted_and_rarely_packed_files_are_refused():
    packed = bytearray(zipped({"a.png": b"1234567890" * 10}))
    at = packed.index(b"PK\x01\x02")
    packed[at + 8] |= 1
    with pytest.raises(Refused, match="encrypted"):
        Archive(bytes(packed), LIMITS).open("a.png")
    packed = zipped({"a.png": bytes(100)}, zipfile.ZIP_LZMA)
    with pytest.raises(Refused, match="packed by method 14; make the zip with deflate"):
        Archive(packed, LIMITS).open("a.png")


def test_damage_anywhere_is_refused_and_never_another_error():
    packed = zipped({"a.png": bytes(range(256)) * 8, "b/c.png": b"2"})
    kept = 0
    for at in range(0, len(packed)):
        damaged = bytearray(packed)
        damaged[at] ^= 0xFF
        try:
            archive = Archive(bytes(damaged), LIMITS)
            for name in archive.names():
                read(archive, name)
            kept += 1
        except (Refused, Refusal):
            continue
    # Times, attributes and the like are changed without harm.
    assert kept < len(packed)
    for end in range(len(packed)):
        with pytest.raises(Refusal, match="422"):
            Archive(packed[:end], LIMITS)


def test_two_files_of_one_name_are_refused():
    packed = zipped({"a.png": b"1", "b.png": b"2"}).replace(b"b.png", b"a.png")
    with pytest.raises(Refusal, match="422") as caught:
        Archive(packed, LIMITS)
    assert "two files of the zip are named" in caught.value.text


def test_parts_of_a_form_are_files_by_name():
    parts = Parts({"red": b"1"})
    assert read(parts, "red") == b"1" and parts.names() == ["red"]
    with pytest.raises(Refused):
        parts.open("green")
    assert issubclass(zipfile.BadZipFile, DAMAGE)
