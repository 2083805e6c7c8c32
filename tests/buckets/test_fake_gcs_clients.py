"""The fake Google Cloud Storage: through gcsfs and TensorStore, and as a process."""

import http.client
import os
import subprocess
import sys
import types
import urllib.parse

import gcsfs.retry
import pytest
import tensorstore
from gcsfs.core import GCSFileSystem
from support.fake_gcs import FakeGcs, FakeGcsProcess

BUCKET = "bucket"
MEDIA = "/storage/v1/b/bucket/o/{}?alt=media"
ABSENT = b"\x02"
"""TensorStore's generation of what is not there."""


@pytest.fixture
def gcs(monkeypatch):
    with FakeGcs(buckets=[BUCKET]) as started:
        for name, value in started.environment().items():
            monkeypatch.setenv(name, value)
        yield started


@pytest.fixture
def fs(gcs, monkeypatch):
    """gcsfs that does not wait before it tries again."""

    async def sleep(seconds):
        pass

    monkeypatch.setattr(gcsfs.retry, "asyncio", types.SimpleNamespace(sleep=sleep))
    return GCSFileSystem(token="anon", use_listings_cache=False, skip_instance_cache=True)


@pytest.fixture
def store(gcs):
    """TensorStore that hardly waits before it tries again."""
    retries = {"max_retries": 3, "initial_delay": "1ms", "max_delay": "2ms"}
    context = tensorstore.Context({"gcs_request_retries": retries})
    spec = {"driver": "gcs", "bucket": BUCKET, "path": "store/"}
    return tensorstore.KvStore.open(spec, context=context).result()


# gcsfs


def test_gcsfs_reads_what_it_writes(gcs, fs):
    name = "folder/ü +%&?#=.bin"
    data = b"\r\n--==0==--" + os.urandom(100) + b"\n--==0==\n"
    fs.pipe_file(f"{BUCKET}/{name}", data)
    assert gcs.get(BUCKET, name) == data
    assert fs.cat_file(f"gs://{BUCKET}/{name}") == data
    assert fs.cat_file(f"gs://{BUCKET}/{name}", 2, 10) == data[2:10]
    assert fs.info(f"{BUCKET}/{name}")["size"] == len(data)
    assert fs.ls(BUCKET) == [f"{BUCKET}/folder"]
    assert fs.find(BUCKET) == [f"{BUCKET}/{name}"]
    assert fs.isdir(f"{BUCKET}/folder")
    assert not fs.exists(f"{BUCKET}/none")
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{BUCKET}/none")


def test_gcsfs_uploads_in_chunks(gcs, fs, tmp_path):
    data = os.urandom(900_000)
    with fs.open(f"{BUCKET}/file", "wb", block_size=2**18) as file:
        for start in range(0, len(data), 100_000):
            file.write(data[start : start + 100_000])
    fs.pipe_file(f"{BUCKET}/pipe", data, chunksize=2**18)
    (tmp_path / "local").write_bytes(data)
    fs.put_file(tmp_path / "local", f"{BUCKET}/put")
    for name in ("file", "pipe", "put"):
        assert gcs.get(BUCKET, name) == data
    fs.get_file(f"{BUCKET}/file", str(tmp_path / "back"), consistency="md5")
    assert (tmp_path / "back").read_bytes() == data


def test_gcsfs_creates_only_what_is_not_there(gcs, fs):
    fs.pipe_file(f"{BUCKET}/name", b"first", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{BUCKET}/name", b"second", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{BUCKET}/name", bytes(600_000), mode="create", chunksize=2**18)
    assert gcs.get(BUCKET, "name") == b"first"


def test_gcsfs_copies_moves_and_deletes(gcs, fs):
    gcs.put(BUCKET, "a", b"1")
    gcs.put(BUCKET, "b", b"2")
    fs.cp_file(f"{BUCKET}/a", f"{BUCKET}/copy")
    fs.mv(f"{BUCKET}/copy", f"{BUCKET}/moved")
    fs.merge(f"{BUCKET}/merged", [f"{BUCKET}/a", f"{BUCKET}/b"])
    assert gcs.names(BUCKET) == ["a", "b", "merged", "moved"]
    assert gcs.get(BUCKET, "merged") == b"12"
    assert fs.info(f"{BUCKET}/merged")["componentCount"] == 2
    fs.rm(f"{BUCKET}/moved")
    # Elsewhere than at Google it sends no batch by itself.
    removed = gcsfs.core.asyn.sync(fs.loop, fs._rm_files, [f"{BUCKET}/merged", f"{BUCKET}/none"])
    assert removed[0] == f"{BUCKET}/merged"
    assert "No such object" in str(removed[1])
    assert gcs.names(BUCKET) == ["a", "b"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_gcsfs_tries_again(gcs, fs, status):
    gcs.put(BUCKET, "name", b"data")
    gcs.faults.throttle(2, status)
    assert fs.cat_file(f"{BUCKET}/name") == b"data"
    assert [entry.status for entry in gcs.requests] == [status, status, 200]


def test_gcsfs_through_broken_connections(gcs, fs):
    data = os.urandom(900_000)
    gcs.faults.break_connections(2, after_bytes=300_000)
    fs.pipe_file(f"{BUCKET}/name", data, chunksize=2**19)
    assert gcs.get(BUCKET, "name") == data
    gcs.faults.break_connections(1, after_bytes=1000)
    assert fs.cat_file(f"{BUCKET}/name") == data
    assert [entry.status for entry in gcs.requests].count(0) == 3


def test_gcsfs_does_not_know_its_own_write_after_a_lost_answer(gcs, fs):
    gcs.faults.lose_answers(1)
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{BUCKET}/name", b"data", mode="create")
    assert gcs.get(BUCKET, "name") == b"data"


def test_gcsfs_without_permission(gcs, fs):
    gcs.put(BUCKET, "name", b"data")
    gcs.faults.forbid(BUCKET)
    with pytest.raises(OSError, match="Forbidden"):
        fs.cat_file(f"{BUCKET}/name")
    gcs.faults.clear()
    gcs.faults.expire_tokens()
    with pytest.raises(gcsfs.retry.HttpError, match="Invalid Credentials"):
        fs.cat_file(f"{BUCKET}/name")
    assert [entry.status for entry in gcs.requests] == [403] + [401] * 6
    gcs.faults.renew_tokens()
    assert fs.cat_file(f"{BUCKET}/name") == b"data"


# TensorStore


def test_tensorstore_reads_lists_and_deletes(gcs, store):
    data = os.urandom(1_500_000)
    store.write("a", data).result()
    store.write("b", b"2").result()
    assert gcs.get(BUCKET, "store/a") == data
    assert store.read("a").result().value == data
    assert store.read("none").result().state == "missing"
    assert store.list().result() == [b"a", b"b"]
    store.write("a", None).result()
    assert gcs.names(BUCKET) == ["store/b"]
    store.delete_range(tensorstore.KvStore.KeyRange()).result()
    assert gcs.names(BUCKET) == []


def test_tensorstore_writes_with_conditions(gcs, store):
    first = store.write("a", b"1", if_equal=ABSENT).result()
    store.write("a", b"2", if_equal=ABSENT).result()
    assert gcs.get(BUCKET, "store/a") == b"1"
    store.write("a", b"3", if_equal=first.generation).result()
    assert gcs.get(BUCKET, "store/a") == b"3"
    store.write("a", None, if_equal=first.generation).result()
    assert gcs.get(BUCKET, "store/a") == b"3"
    now = store.read("a").result().stamp.generation
    assert store.read("a", if_not_equal=now).result().state == "unspecified"


def test_tensorstore_through_faults(gcs, store):
    gcs.faults.throttle(2)
    store.write("a", bytes(1000)).result()
    gcs.faults.break_connections(2, after_bytes=10)
    assert store.read("a").result().value == bytes(1000)
    statuses = [entry.status for entry in gcs.requests]
    assert statuses == [429, 429, 200, 0, 0, 200]
    gcs.faults.forbid(BUCKET)
    with pytest.raises(ValueError, match="PERMISSION_DENIED"):
        store.read("a").result()
    gcs.faults.clear()
    gcs.faults.expire_tokens()
    with pytest.raises(ValueError, match="Invalid Credentials"):
        store.read("a").result()


# A process of its own

CLIENT = """
import fsspec, tensorstore
fs = fsspec.filesystem("gs")
fs.pipe_file("bucket/name", b"data")
spec = {"driver": "gcs", "bucket": "bucket"}
store = tensorstore.KvStore.open(spec).result()
print(store.read("name").result().value.decode())
"""


def test_process_with_the_environment_alone(tmp_path):
    with FakeGcsProcess(buckets=[BUCKET], root=tmp_path) as gcs:
        client = subprocess.run(
            [sys.executable, "-c", CLIENT],
            env=os.environ | gcs.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert client.stdout == "data\n", client.stderr
        assert gcs.count("POST", "name") == 1
        assert gcs.names(BUCKET) == ["name"]
        gcs.put(BUCKET, "other", b"0123")
        gcs.flip_bit(BUCKET, "other", 0)
        assert gcs.get(BUCKET, "other") == b"1123"
        gcs.put(BUCKET, "gone", b"")
        gcs.delete(BUCKET, "gone")
        with pytest.raises(KeyError):
            gcs.get(BUCKET, "gone")
        # A new process finds what lies in the folder.
        generation = gcs.generation(BUCKET, "name")
        gcs.restart()
        assert gcs.names(BUCKET) == ["name", "other"]
        assert gcs.generation(BUCKET, "name") == generation
        assert gcs.get(BUCKET, "name") == b"data"
        assert gcs.put(BUCKET, "name", b"new") > generation
        gcs.faults.latency_s = 0.01
        gcs.faults.throttle(1, name="name")
        gcs.faults.forbid("elsewhere", methods=["GET"])
        netloc = urllib.parse.urlsplit(gcs.url).netloc
        statuses = []
        connection = http.client.HTTPConnection(netloc)
        for _ in range(2):
            connection.request("GET", MEDIA.format("name"))
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        assert statuses == [429, 200]
        assert gcs.request_counts()["by_status"] == {"429": 1, "200": 1}
