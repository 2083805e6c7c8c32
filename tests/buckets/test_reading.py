"""Datasets in a bucket: read as from the local disk, in few requests, each byte once."""

import errno
import os
import threading
import time

import numpy as np
import pytest
from support.fake_gcs import FakeGcs
from support.made_datasets import build_dataset, shuffled, take

from hpa_jax.buckets import client, mounts, ranges, scratch
from hpa_jax.buckets.ranges import Range, RangeReader, coalesce
from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.data.loader import eval_batches
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.training.vote_bank import ChosenImages

BUCKET = "bucket"
URL = f"gs://{BUCKET}/data"
TRAIN_SHARD = "data/hpa/small/1.0.0/hpa-train.tfrecord-00000-of-00003"


@pytest.fixture(scope="module")
def local_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    build_dataset(folder, "small")
    build_dataset(folder, "other", ids={"train": [f"train-{i}" for i in range(100, 109)]})
    for info in folder.rglob("dataset_info.json"):
        name_as_built(info)
    return folder


def name_as_built(info):
    """Renames shards as the builder names them; TFDS's writer leaves out how many there are."""
    text = info.read_text()
    info.write_text(text.replace("{SHARD_INDEX}", "{SHARD_X_OF_Y}"))
    for split in ("train", "validation", "test"):
        for kind in ("tfrecord", "index"):
            shards = sorted(info.parent.glob(f"hpa-{split}.{kind}-*"))
            for shard in shards:
                shard.rename(f"{shard}-of-{len(shards):05d}")


@pytest.fixture
def gcs(local_dir, tmp_path, monkeypatch):
    """The datasets in a bucket, and a process that has read nothing yet."""
    with FakeGcs(buckets=[BUCKET]) as started:
        for path in local_dir.rglob("*"):
            if path.is_file():
                name = path.relative_to(local_dir).as_posix()
                started.put(BUCKET, f"data/{name}", path.read_bytes())
        environment = started.environment() | {"HPA_SCRATCH": str(tmp_path / "scratch")}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(client, "_client", [])
        monkeypatch.setattr(scratch, "_folders", [])
        mounts.forget()
        mounts.set_reading(4, 1)
        yield started
        mounts.forget()
        scratch.remove_scratch_folder()


def open_remote(name="small", split="train"):
    return load_dataset(mounts.local_copy(URL), name, split=split)


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for batch, other in zip(found, expected, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], strict=True)


def fetched_bytes(gcs):
    return sum(entry.bytes for entry in gcs.requests if ".tfrecord-" in entry.name)


# The same batches.


@pytest.mark.parametrize("cache_bytes", [0, 3000, 10**9])
@pytest.mark.parametrize("start", [0, 37])
def test_batches_are_those_of_the_local_dataset(gcs, local_dir, tmp_path, start, cache_bytes):
    local = load_dataset(local_dir, "small", split="train")
    mounts._readers.append(RangeReader(tmp_path / "ranges", 4, cache_bytes))
    options = {"batch_size": 4, "seed": 3, "start": start, "threads": 2}
    expected = take(shuffled(local, **options), 15)
    assert_same(take(shuffled(open_remote(), **options), 15), expected)
    # Three epochs are announced at once and read from what was kept, if it was.
    if cache_bytes == 10**9:
        size = sum(path.stat().st_size for path in local_dir.glob("hpa/small/*/*train.tfrecord*"))
        assert fetched_bytes(gcs) == size


def test_an_iterator_goes_on_where_another_stood(gcs):
    batches = shuffled(open_remote(), batch_size=4, seed=1)
    iterator = iter(batches)
    for _ in range(5):
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(8)]
    mounts.forget()
    resumed = iter(shuffled(open_remote(), batch_size=4, seed=1))
    resumed.set_state(state)
    assert_same([next(resumed) for _ in range(8)], expected)


def test_processes_read_their_rows(gcs, local_dir):
    local = load_dataset(local_dir, "small", split="train")
    remote = open_remote()
    for process in range(2):
        options = {"batch_size": 4, "seed": 0, "process_index": process, "process_count": 2}
        expected = take(shuffled(local, **options), 9)
        assert_same(take(shuffled(remote, **options), 9), expected)


def test_evaluation_is_in_stored_order(gcs, local_dir):
    local = load_dataset(local_dir, "small", split="train")
    expected = list(eval_batches(local, batch_size=4))
    assert_same(list(eval_batches(open_remote(), batch_size=4)), expected)
    # A request for each shard: they are small.
    assert gcs.count("GET", "train.tfrecord") == 3


def test_several_datasets(gcs, local_dir):
    def concat(first, second):
        return ConcatDataset([first, second], ["small", "other"])

    local = concat(*(load_dataset(local_dir, name, split="train") for name in ("small", "other")))
    remote = concat(open_remote("small"), open_remote("other"))
    assert remote.read_ahead and not local.read_ahead
    expected = take(shuffled(local, batch_size=4, seed=5), 20)
    assert_same(take(shuffled(remote, batch_size=4, seed=5), 20), expected)


def test_some_images_of_several_datasets(gcs, local_dir):
    places = np.array([5, 2, 2, 0])

    def some(opened):
        return ChosenImages(ConcatDataset([opened], ["small"]), places)

    local = some(load_dataset(local_dir, "small", split="train"))
    remote = some(open_remote("small"))
    assert remote.read_ahead and not local.read_ahead
    expected = list(eval_batches(local, batch_size=4))
    assert_same(list(eval_batches(remote, batch_size=4)), expected)


@pytest.mark.parametrize("is_short", [False, True])
def test_a_full_disk_keeps_what_it_has(gcs, local_dir, monkeypatch, is_short):
    pwrite = os.pwrite

    def fill(file, content, place):
        if place < 1000:
            return pwrite(file, content, place)
        if is_short:
            return pwrite(file, content[:10], place)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ranges.os, "pwrite", fill)
    local = load_dataset(local_dir, "small", split="train")
    expected = take(shuffled(local, batch_size=4, seed=3), 15)
    assert_same(take(shuffled(open_remote(), batch_size=4, seed=3), 15), expected)


# What goes wrong.


def test_a_damaged_record_is_named(gcs):
    dataset = open_remote()
    gcs.flip_bit(BUCKET, TRAIN_SHARD, 1000)
    with pytest.raises(InputError) as error:
        take(shuffled(dataset, batch_size=4, seed=0), 6)
    assert "record 2 (Id train-2) is damaged" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_shard_that_changes_while_it_is_read(gcs, is_removed):
    dataset = open_remote()
    content = gcs.get(BUCKET, TRAIN_SHARD)
    gcs.delete(BUCKET, TRAIN_SHARD)
    if not is_removed:
        gcs.put(BUCKET, TRAIN_SHARD, content)
    with pytest.raises(InputError) as error:
        take(shuffled(dataset, batch_size=4, seed=0), 6)
    happened = "removed" if is_removed else "replaced"
    assert str(error.value) == (
        f"gs://{BUCKET}/{TRAIN_SHARD} was {happened} while it was read; put it back, or start "
        "again with the new ones"
    )


def test_requests_that_fail_for_a_while_are_repeated(gcs, local_dir):
    local = load_dataset(local_dir, "small", split="train")
    dataset = open_remote()
    gcs.faults.throttle(1, name=".tfrecord-")
    gcs.faults.throttle(1, 503, name=".tfrecord-")
    gcs.faults.break_connections(1, after_bytes=100, name=".tfrecord-")
    expected = take(shuffled(local, batch_size=4, seed=0), 6)
    assert_same(take(shuffled(dataset, batch_size=4, seed=0), 6), expected)


def test_no_permission(gcs):
    dataset = open_remote()
    gcs.faults.forbid(BUCKET, methods=["GET"])
    with pytest.raises(InputError, match="no permission .* the account needs storage.objects.get"):
        dataset[0]


def test_credentials_that_ended(gcs):
    dataset = open_remote()
    gcs.faults.expire_tokens()
    with pytest.raises(InputError, match="the credentials are not accepted"):
        dataset[0]


def test_a_bucket_that_does_not_answer(gcs, monkeypatch):
    monkeypatch.setenv(client.TIMEOUT, "0.3")
    dataset = open_remote()
    gcs.faults.throttle(1000, 503, name=".tfrecord-")
    with pytest.raises(RunStopped, match=r"Cloud Storage has not answered for 0.3 s"):
        dataset[0]


# Requests.


class Numbers:
    """A file of which each read is counted; stands for a `RemoteFile`."""

    key = ("bucket", "numbers", 1)

    def __init__(self):
        self.content = np.random.default_rng(0).bytes(200_000)
        self.reads = []
        self.lock = threading.Lock()

    def read(self, start, size):
        with self.lock:
            self.reads.append((start, size))
        return self.content[start : start + size]

    def ranges(self, numbers, size=1000):
        # Apart enough, with the gap that the tests set, to be requests of their own.
        return [Range(self, number * 2 * size, size) for number in numbers]

    def assert_read(self, reader, wanted):
        expected = self.content[wanted.start : wanted.stop]
        assert reader.read(wanted) == expected

    def settle(self):
        """Waits until nothing more is read; returns how many were."""
        before = -1
        while before != len(self.reads):
            before = len(self.reads)
            time.sleep(0.05)
        return before


@pytest.fixture
def reader(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "_GAP_BYTES", 10)
    monkeypatch.setattr(ranges, "_WAITING_BYTES", 10_000)
    made = RangeReader(tmp_path / "ranges", 3, 0)
    yield made
    made.close()


def test_coalesce():
    file = Numbers()
    other = Numbers()
    other.key = ("bucket", "other", 1)
    mebibyte = 2**20
    far = Range(file, 10 * mebibyte, 100)
    near = [Range(file, 0, 100), Range(file, 100, 50), Range(file, 150 + 2**18, 10)]
    wanted = [far, near[2], Range(other, 150, 10), near[0], near[1]]
    assert coalesce(wanted) == [[far], near, [Range(other, 150, 10)]]
    # No larger than the largest request, if they are several.
    row = [Range(file, number * mebibyte, mebibyte) for number in range(5)]
    assert [len(group) for group in coalesce(row)] == [2, 2, 1]
    assert coalesce([Range(file, 0, 9 * mebibyte)]) == [[Range(file, 0, 9 * mebibyte)]]
    assert coalesce([]) == []


def test_never_more_than_there_is_room_for(reader):
    file = Numbers()
    wanted = file.ranges(range(50))
    reader.announce(wanted)
    assert file.settle() == 10
    for count, part in enumerate(wanted, start=1):
        file.assert_read(reader, part)
        if count in (1, 5, 20):
            assert file.settle() == 10 + count
    # Each once, and first those that were announced first.
    assert sorted(file.reads) == [(part.start, part.size) for part in wanted]


def test_what_nobody_asks_for_makes_room(reader):
    file = Numbers()
    reader.announce(file.ranges(range(30)))
    assert file.settle() == 10
    wanted = file.ranges(range(40, 70))
    reader.announce(wanted)
    for part in wanted:
        file.assert_read(reader, part)
    file.settle()
    assert len(file.reads) <= 30 + len(wanted)
    assert reader._held_bytes <= 10_000
    assert len([start for start, _ in file.reads if start >= wanted[0].start]) == len(wanted)


def test_a_range_larger_than_the_room(reader):
    file = Numbers()
    wanted = [Range(file, 0, 50_000), Range(file, 60_000, 50_000)]
    reader.announce(wanted)
    assert file.settle() == 1
    for part in wanted:
        file.assert_read(reader, part)
    assert file.settle() == 2


def test_read_ahead_follows_the_connections(tmp_path):
    assert RangeReader(tmp_path, 32).read_ahead == 256
    assert RangeReader(tmp_path, 512).read_ahead == 2048


def test_the_cache_is_bounded(tmp_path):
    file = Numbers()
    reader = RangeReader(tmp_path, 2, 5500)
    wanted = file.ranges(range(20))
    for _ in range(3):
        for part in wanted:
            file.assert_read(reader, part)
    assert len(file.reads) == 20 + 15 + 15
    assert (tmp_path / "cache").stat().st_size == 5000
    reader.close()


def test_closed_with_requests_under_way(tmp_path):
    file = Numbers()
    reader = RangeReader(tmp_path, 2, 0)
    reader.announce(file.ranges(range(90)))
    threads = list(reader._threads)
    reader.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
