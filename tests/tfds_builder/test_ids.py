"""Names by which images are stored: safe, readable, and of one Id each."""

import re
import unicodedata

import pytest

from tfds_builder.hpa.files import ids


@pytest.mark.parametrize("original", ["f000", "10580_1610_C1_1", "000a-b", "_", "A" * 300])
def test_what_is_safe_stays(original):
    assert ids.stored_id(original) == original
    assert ids.fault_of(original) is None


ODD = {
    "SQ0001/r01c02": "SQ0001_r01c02-",
    "A - 01(fld 02 wv DAPI)": "A_-_01_fld_02_wv_DAPI-",
    "plate 1.ome": "plate_1_ome-",
    "a+b": "a_b-",
    "caf\u00e9": "cafe-",
    "\u7d30\u80de": "image-",
    "x y " * 100: "x_y_",
}


@pytest.mark.parametrize("original", ODD)
def test_other_ids_get_a_name_with_a_digest(original):
    found = ids.stored_id(original)
    assert found.startswith(ODD[original])
    assert re.fullmatch(r"[A-Za-z0-9_-]+-[0-9a-f]{12}", found) and len(found) < 100
    assert ids.fault_of(original) is None
    assert ids.stored_id(found) == found


def test_names_are_of_one_id_each():
    alike = ["a b", "a.b", "a/b", "a_b", "a  b", "A b", "a+b", "a(b", "\u00e4 b"]
    assert len({ids.stored_id(original).casefold() for original in alike}) == len(alike)
    composed = unicodedata.normalize("NFC", "caf\u00e9")
    assert ids.stored_id(composed) == ids.stored_id(unicodedata.normalize("NFD", composed))


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        ("", "has no Id; "),
        ("..", "has an Id with an empty part"),
        ("a//b", "has an Id with an empty part"),
        ("a/", "has an Id with an empty part"),
        ("/a", "has an Id with an empty part"),
        ("a\\..\\b", "has an Id with an empty part"),
        ("a/./b", "has an Id with an empty part"),
        ("a\u202eb", "has the invisible character U+202E in its Id; "),
        ("a\tb", "has the invisible character U+0009 in its Id; "),
    ],
)
def test_what_can_name_no_file_is_a_fault(original, reason):
    assert ids.fault_of(original).startswith(reason)
