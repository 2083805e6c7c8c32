"""Records and their index, against TensorFlow's writer; every byte of a shard is damaged once."""

import logging
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from hpa_jax.data.index_builder import scan_shard
from hpa_jax.data.records import Records, index_path, write_index
from hpa_jax.data.shard_index import ShardIndex
from hpa_jax.data.tfrecord import FRAME_HEAD, example_image
from hpa_jax.errors import InputError

EXAMPLES = [
    ("a-1", [0, 27], (4, 6)),
    ("image-b", [], (5, 5)),
    ("c\u00e9", [3], (4, 6)),
]  # Id, labels, height and width


def write_shard(path, triples):
    """Writes (Id, labels, image size) triples with TensorFlow; returns the serialised examples."""
    import tensorflow as tf

    examples = []
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, (example_id, labels, size) in enumerate(triples):
            image = cv2.imencode(".png", np.full((*size, 4), i, np.uint8))[1].tobytes()
            feature = {
                "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[example_id.encode()])),
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "labels": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            examples.append(example.SerializeToString(deterministic=True))
            writer.write(examples[-1])
    return examples


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "hpa-train.tfrecord-00000-of-00001"
    write_shard(path, EXAMPLES)
    return path


def read_all(shard, expected=3):
    records = Records([shard], [expected])
    try:
        return [records[i] for i in range(len(records))]
    finally:
        records.close()


def damage(shard, at, mask=0b100):
    data = bytearray(shard.read_bytes())
    data[at] ^= mask
    shard.write_bytes(data)


def test_reads_what_tensorflow_wrote_over_several_shards(tmp_path):
    shards = [tmp_path / f"hpa-train.tfrecord-0000{i}-of-00003" for i in range(3)]
    parts = [EXAMPLES, [], EXAMPLES[::-1]]
    examples = sum((write_shard(path, part) for path, part in zip(shards, parts, strict=True)), [])
    for path in shards:
        write_index(path)
    records = Records(shards, [3, 0, 3])
    order = [5, 0, 3, 1, 4, 2]
    assert [records[i] for i in order] == [examples[i] for i in order]
    assert [records.id(i) for i in range(6)] == [f[0] for f in EXAMPLES + EXAMPLES[::-1]]
    assert records.sizes().tolist() == [list(f[2]) for f in EXAMPLES + EXAMPLES[::-1]]
    assert [np.flatnonzero(row).tolist() for row in records.labels(28)] == [
        f[1] for f in EXAMPLES + EXAMPLES[::-1]
    ]
    assert (
        cv2.imdecode(np.frombuffer(example_image(records[1]), np.uint8), cv2.IMREAD_UNCHANGED)[
            0, 0
        ].tolist()
        == [1] * 4
    )
    for i in (-1, 6):
        with pytest.raises(IndexError):
            records[i]


def test_threads_and_a_pickled_copy_read_the_same(shard):
    records = Records([shard])
    alone = [records[i] for i in range(3)]
    copy = pickle.loads(pickle.dumps(records))
    with ThreadPoolExecutor(8) as pool:
        for source in (records, copy):
            assert list(pool.map(lambda i, s=source: s[i % 3], range(300))) == alone * 100
    records.close()
    assert records[2] == alone[2]  # opened again


def test_more_shards_than_open_files(shard, monkeypatch):
    monkeypatch.setattr("hpa_jax.data.records._MAX_OPEN_FILES", 1)
    records = Records([shard] * 3)
    assert [records[i] for i in range(9)] == read_all(shard) * 3


def test_index_bytes_depend_on_the_shard_alone(shard, tmp_path):
    first = write_index(shard).read_bytes()
    os.utime(shard, (0, 0))
    assert write_index(shard).read_bytes() == first
    other = tmp_path / "elsewhere"
    other.write_bytes(shard.read_bytes())
    assert write_index(other) == tmp_path / "elsewhere.index"
    assert write_index(other).read_bytes() == first


def test_index_is_no_shard_to_a_glob(shard):
    write_index(shard)
    assert list(shard.parent.glob("*.tfrecord*")) == [shard]
    assert sorted(shard.parent.iterdir()) == sorted(
        [shard, index_path(shard)]
    )  # nothing half-written stays


@pytest.mark.parametrize("indexed", [True, False])
def test_every_byte_of_a_shard_damaged(shard, indexed):
    intact = shard.read_bytes()
    write_index(shard)
    rows = ShardIndex.from_bytes(index_path(shard).read_bytes()).rows
    index = index_path(shard).read_bytes()
    for at in range(len(intact)):
        shard.write_bytes(intact)
        damage(shard, at, 1 << at % 8)
        index_path(shard).write_bytes(index) if indexed else index_path(shard).unlink(
            missing_ok=True
        )
        record = int(np.searchsorted(rows["offset"], at, "right")) - 1
        # Without an index the Id is only as good as the damaged record; with one it is known.
        who = re.escape(EXAMPLES[record][0]) if indexed else ".*"
        with pytest.raises(
            InputError, match=f"^{re.escape(str(shard))}: record {record} .*{who}.*is damaged"
        ) as error:
            read_all(shard)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("indexed", [True, False])
def test_a_shard_truncated_anywhere(shard, indexed):
    intact = shard.read_bytes()
    index = write_index(shard).read_bytes()
    ends = ShardIndex.from_bytes(index).rows["offset"].tolist()
    for size in range(len(intact)):
        shard.write_bytes(intact[:size])
        index_path(shard).write_bytes(index) if indexed else index_path(shard).unlink(
            missing_ok=True
        )
        message = (
            "records where the dataset's metadata say 3"
            if size in ends
            else "the file ends inside it|length does"
        )
        with pytest.raises(InputError, match=message) as error:
            read_all(shard)
        if indexed:
            lost = EXAMPLES[max(i for i, start in enumerate(ends) if start <= size)][0]
            assert f"Id {lost}" in str(error.value)


def test_bytes_added_at_the_end(shard):
    write_index(shard)
    with shard.open("ab") as file:
        file.write(b"\0" * 5)
    with pytest.raises(InputError, match="record 3 .*the file ends inside it"):
        read_all(shard)


def test_a_damaged_record_read_late_is_named_and_the_others_stay_readable(shard):
    """The index is younger and the size is right: only reading the record finds a flipped bit."""
    write_index(shard)
    records = Records([shard])
    damage(shard, int(records.indexes[0].rows["offset"][1]) + FRAME_HEAD.size + 20)
    with pytest.raises(
        InputError, match=r"record 1 \(Id image-b\) is damaged, its data do not match their CRC"
    ):
        records[1]
    assert records[0] and records[2]


def test_missing_index_is_built_with_one_log_line(shard, tmp_path, caplog):
    other = tmp_path / "hpa-test.tfrecord-00000-of-00001"
    write_shard(other, EXAMPLES)
    wanted = [write_index(path).read_bytes() for path in (shard, other)]
    for path in (shard, other):
        index_path(path).unlink()
    with caplog.at_level(logging.INFO):
        Records([shard, other])
        assert len(caplog.records) == 1 and "built 2 of 2 shard indexes again" in caplog.text
        assert [index_path(path).read_bytes() for path in (shard, other)] == wanted
        Records([shard, other])  # and now they are there
        assert len(caplog.records) == 1


def test_damaged_index_is_built_again(shard, caplog):
    intact = write_index(shard).read_bytes()
    path = index_path(shard)
    bad = [
        intact[:at] + bytes([intact[at] ^ 16]) + intact[at + 1 :] for at in range(0, len(intact), 3)
    ]
    bad += [intact[:size] for size in range(0, len(intact), 7)] + [intact + b"\0"]
    for data in bad:
        path.write_bytes(data)
        caplog.clear()
        assert len(read_all(shard)) == 3
        assert len(caplog.records) == 1 and path.read_bytes() == intact


@pytest.mark.parametrize(
    "changed", [("a-1", [1, 27], (4, 6)), ("a-2", [0, 27], (4, 6)), ("longer-id", [], (4, 6))]
)
def test_stale_index_is_built_again(shard, caplog, changed):
    write_index(shard)
    before = shard.stat().st_size
    write_shard(shard, [changed, *EXAMPLES[1:]])
    assert (shard.stat().st_size == before) == (changed[0] != "longer-id")
    os.utime(shard, (0, 0))  # an index that looks younger is compared too
    records = Records([shard])
    assert (
        records.id(0) == changed[0] and np.flatnonzero(records.labels(28)[0]).tolist() == changed[1]
    )
    assert len(caplog.records) == 1 and "built 1 of 1" in caplog.text


def test_a_change_that_the_sample_misses_is_found_at_reading(tmp_path):
    """Only some frames of a shard that claims to be older than its index are compared at first."""
    shard = tmp_path / "hpa-train.tfrecord-00000-of-00001"
    examples = [(f"image-{i:03}", [i % 28], (4, 4)) for i in range(100)]
    write_shard(shard, examples)
    write_index(shard)
    examples[1] = ("image-XXX", [5], (4, 4))
    write_shard(shard, examples)
    younger = index_path(shard).stat().st_mtime_ns
    assert Records([shard]).id(1) == "image-XXX"  # the shard is younger: all frames are compared
    examples[1] = ("image-YYY", [5], (4, 4))
    write_shard(shard, examples)
    os.utime(shard, ns=(younger - 10**9, younger - 10**9))
    records = Records([shard])
    with pytest.raises(InputError, match="record 1 .*not the record in its index: remove"):
        records[1]
    assert records[0]


def test_index_is_kept_in_memory_where_it_cannot_be_written(shard, caplog):
    index_path(shard).mkdir()  # stands in the way of reading and of replacing, for root too
    assert len(read_all(shard)) == 3
    assert len(caplog.records) == 1 and "kept in memory only" in caplog.text
    assert sorted(shard.parent.iterdir()) == sorted([shard, index_path(shard)])


def test_missing_shard_foreign_record_unknown_label(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file"):
        Records([tmp_path / "nowhere"])
    import tensorflow as tf

    shard = tmp_path / "other.tfrecord"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(b"not an example")
    with pytest.raises(InputError, match="record 0 .*not a tf.train.Example"):
        write_index(shard)
    write_shard(shard, [("a", [0], (4, 4)), ("b", [28], (4, 4))])
    with pytest.raises(InputError, match=r"record 1 \(Id b\): unknown label 28"):
        Records([shard]).labels(28)


def test_scan_without_an_index_names_whom_it_can(shard):
    rows = scan_shard(shard).rows
    damage(shard, int(rows["offset"][2]))  # the length: where the record ends is unknown
    with pytest.raises(
        InputError, match=r"record 2 \(Id unknown, next after Id image-b\) is damaged, its length"
    ):
        write_index(shard)
    damage(shard, int(rows["offset"][2]))
    damage(shard, int(rows["offset"][2]) + FRAME_HEAD.size + int(rows["length"][2]))  # the data CRC
    with pytest.raises(
        InputError,
        match="record 2 .Id 'c\u00e9', as its own damaged data say. is damaged, its data",
    ):
        write_index(shard)
    assert not index_path(shard).exists()


def test_a_file_in_the_place_of_an_index_that_is_none_is_left_alone(shard, caplog):
    path = index_path(shard)
    for content in (b"the notes of somebody", b"hpXYdx and so on"):
        path.write_bytes(content)
        assert len(read_all(shard)) == 3
        assert path.read_bytes() == content
        assert "kept in memory only: left alone, it is no index" in caplog.text
    path.unlink()
    # A damaged one is made again, wherever the damage is.
    write_index(shard)
    sound = path.read_bytes()
    for damaged in (bytes([sound[0] ^ 1]) + sound[1:], sound[:-1], sound[:3], b""):
        path.write_bytes(damaged)
        assert len(read_all(shard)) == 3
        assert path.read_bytes() == sound


def test_a_program_that_ends_with_open_files_says_nothing(small_data):
    program = (
        "from hpa_jax.data.catalog import load_dataset\n"
        f"dataset = load_dataset({str(small_data)!r}, 'synthetic_32', split='train')\n"
        "print(dataset[0]['id'])\n"
        # What modules hold at the end goes when they have been taken apart.
        "import sys; sys.modules['os'].kept = dataset\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip()
    assert done.stderr == ""
