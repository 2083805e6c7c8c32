"""The dataset that version 0.3 wrote (tests/golden/version_0_3) is read, now and by later versions.

support/golden_dataset.py wrote it, and what was read of it.
"""

import csv
import json
import shutil
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from support.golden_dataset import ODD, observed

from hpa_jax.data.catalog import SPLITS, load_dataset
from hpa_jax.data.identity import split_digest
from hpa_jax.data.index_builder import scan_shard
from hpa_jax.data.metadata import read_metadata, seal
from hpa_jax.data.records import Records, index_path
from hpa_jax.data.shard_index import ShardIndex
from hpa_jax.errors import InputError
from hpa_jax.files import plain_cell
from hpa_jax.labels import LABELS

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "version_0_3"
KEPT = GOLDEN / "data/hpa/kept/3.0.0"
UNLABELLED = GOLDEN / "data/hpa/unlabelled/3.0.0"
OLDER = TESTS / "golden/version_0_1/data/hpa/synthetic_32/2.0.0"


def rows_of(table):
    with open(table, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_read_as_it_was():
    expected = json.loads((GOLDEN / "expected_data.json").read_text(encoding="utf-8"))
    assert observed(GOLDEN / "data") == expected


def test_its_metadata_say_what_it_holds():
    metadata = read_metadata(KEPT)
    assert metadata["format"] == 3
    assert metadata["vocabulary"] == {"name": "hpa2018", "labels": list(LABELS)}
    imaged = {channel["name"]: channel["imaged"] for channel in metadata["channels"]}
    assert imaged == {"red": True, "green": True, "blue": True, "yellow": False}
    assert metadata["pixel_size"] == 0.25
    for split in SPLITS:
        dataset = load_dataset(GOLDEN / "data", "kept", split=split)
        labels = [row.nonzero()[0] for row in dataset.targets()]
        digest = split_digest(dataset.ids(), labels, dataset.folds())
        assert metadata["digests"][split] == digest


def test_unknown_labels_are_kept_apart_from_none_and_not_taken_for_it():
    shards = sorted(UNLABELLED.glob("*.tfrecord*"))
    records = Records(shards)
    known = {records.id(i): known for i, known in enumerate(records.labels_known().tolist())}
    assert known == {f"plate-{i}": i % 2 == 1 for i in range(1, 7)}
    assert not records.labels(len(LABELS)).any()
    assert {row["id"]: row["labels_known"] for row in rows_of(UNLABELLED / "images.csv")} == {
        image_id: str(int(value)) for image_id, value in known.items()
    }
    with pytest.raises(InputError, match=r"its labels are unknown, as those of 3 of 6 images"):
        load_dataset(GOLDEN / "data", "unlabelled", split="all")


def test_its_tables_are_safe_to_print_and_to_open():
    for table in KEPT.glob("*.csv"):
        text = table.read_text(encoding="utf-8")
        assert text.replace("\n", "").isprintable()
        for row in rows_of(table):
            assert not any(cell.startswith(("=", "+", "@")) for cell in row.values())
    by_id = {row["id"]: row for row in rows_of(KEPT / "images.csv")}
    assert plain_cell(by_id["plate-2"]["original_id"]) == ODD["plate-2"]
    assert plain_cell(by_id["plate-1"]["group_key"]) == "=donor 0"


@pytest.mark.parametrize("shard", sorted(OLDER.glob("*.tfrecord*")), ids=lambda path: path.name)
def test_an_index_of_layout_2_is_read(shard):
    """The one beside it is what a scan of the shard finds."""
    old = index_path(shard).read_bytes()
    assert old.startswith(b"hpaidx\x00\x02")
    scanned = scan_shard(shard)
    assert ShardIndex.from_bytes(old).to_bytes() == scanned.to_bytes()


def test_a_dataset_of_a_newer_format_is_one_line(tmp_path):
    for version, number in (("4.0.0", 4), ("3.1.0", 5)):
        folder = tmp_path / version / "hpa/kept" / version
        shutil.copytree(KEPT, folder)
        metadata = {**read_metadata(KEPT), "format": number}
        (folder / "metadata.json").write_text(json.dumps(seal(metadata)))
        with pytest.raises(InputError, match=f"format {number}; .* reads up to 3: upgrade hpa_jax"):
            load_dataset(tmp_path / version, "kept")


def test_the_newest_version_is_never_passed_over(tmp_path):
    """Also where all that is left of it is its folder."""
    shutil.copytree(OLDER, tmp_path / "hpa/kept/2.0.0")
    load_dataset(tmp_path, "kept")
    (tmp_path / "hpa/kept/3.0.0").mkdir()
    with pytest.raises(InputError, match=r"kept/3.0.0/metadata.json: missing"):
        load_dataset(tmp_path, "kept")


def test_an_index_that_an_older_program_made_again_is_replaced(tmp_path, caplog):
    """Layout 2 has no room for unknown labels: taken for whole, it would make all of them known."""
    folder = tmp_path / "hpa/unlabelled/3.0.0"
    shutil.copytree(UNLABELLED, folder)
    index = next(folder.glob("*train.index*"))
    index.write_bytes(as_layout_2(ShardIndex.from_bytes(index.read_bytes())))
    with pytest.raises(InputError, match="labels are unknown"):
        load_dataset(tmp_path, "unlabelled", split="train")
    assert "of an older layout" in caplog.text


def as_layout_2(index):
    """The bytes that version 0.2 wrote."""
    rows = index.rows[list(index.rows.dtype.names[:-2])]
    rows = np.array(rows.tolist(), [(name, rows.dtype[name]) for name in rows.dtype.names])
    counts = (index.shard_bytes, len(rows), len(index.id_bytes), len(index.label_ids))
    head = struct.pack("<8sQQQQ", b"hpaidx\x00\x02", *counts)
    body = head + rows.tobytes() + index.id_bytes + index.label_ids.astype("<i4").tobytes()
    return body + struct.pack("<I", google_crc32c.value(body))
