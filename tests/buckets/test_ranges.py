"""Shards in a bucket, read in ranges."""

import threading

import pytest

from hpa_jax.buckets.ranges import Range, RangeReader, RemoteFile, coalesce
from hpa_jax.errors import InputError, RunStopped

BUCKET = "bucket"
CONTENT = bytes(range(256)) * 2048


@pytest.fixture
def shard(connected, bucket):
    generation = connected.put(BUCKET, "shard", CONTENT)
    return RemoteFile(bucket, "shard", len(CONTENT), generation)


@pytest.fixture
def reader(tmp_path):
    with_cache = RangeReader(tmp_path / "cache", connections=4)
    yield with_cache
    with_cache.close()


def pieces(shard, count=16, size=100):
    return [Range(shard, 1000 * number, size) for number in range(count)]


def check(reader, wanted):
    for one in wanted:
        assert reader.read(one) == CONTENT[one.start : one.stop]


def test_what_was_announced_is_one_request(connected, shard, reader):
    wanted = pieces(shard)
    reader.announce(wanted)
    check(reader, reversed(wanted))
    assert connected.count("GET", "shard") == 1
    # And is kept.
    check(reader, wanted)
    assert connected.count("GET", "shard") == 1


def test_what_was_not_announced_is_read_too(connected, shard, tmp_path):
    reader = RangeReader(tmp_path / "cache", connections=1, cache_bytes=0)
    check(reader, pieces(shard, 3))
    check(reader, pieces(shard, 3))
    assert connected.count("GET", "shard") == 6
    reader.close()


def test_far_ranges_are_requests_of_their_own(shard):
    near = [Range(shard, 0, 10), Range(shard, 100, 10)]
    far = Range(shard, 10**7, 10)
    assert coalesce([far, *near]) == [[far], near]


def test_a_range_that_ends_behind_the_file(shard, reader):
    assert reader.read(Range(shard, len(CONTENT) - 5, 100)) == CONTENT[-5:]
    assert reader.read(Range(shard, 10, 0)) == b""


def test_faults_that_pass(connected, shard, reader):
    connected.faults.throttle(2, 429)
    connected.faults.break_connections(2, after_bytes=50)
    connected.faults.lose_answers(1)
    connected.faults.reorder_s = 0.02
    wanted = pieces(shard)
    reader.announce(wanted)
    check(reader, wanted)


def test_threads_share_it(shard, reader):
    wanted = pieces(shard, 64)
    reader.announce(wanted[:32])
    failures = []

    def read():
        try:
            check(reader, wanted)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_changed_goes_or_may_not_be_read(connected, shard, reader, announced):
    def message(kind, start):
        wanted = Range(shard, start, 10)
        if announced:
            reader.announce([wanted])
        with pytest.raises(kind) as caught:
            reader.read(wanted)
        return str(caught.value)

    connected.put(BUCKET, "shard", CONTENT[::-1])
    assert message(InputError, 1).startswith("gs://bucket/shard was replaced while")
    connected.delete(BUCKET, "shard")
    assert message(InputError, 2).startswith("gs://bucket/shard was removed while")
    connected.faults.forbid(BUCKET)
    assert "no permission" in message(InputError, 3)
    connected.faults.clear()
    connected.faults.throttle(10**6, 503)
    assert "has not answered for 2 s" in message(RunStopped, 4)
