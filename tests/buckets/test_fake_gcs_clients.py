"""The fake Google Cloud Storage: through TensorStore, and as a process."""

import http.client
import os
import subprocess
import sys
import urllib.parse

import pytest
import tensorstore
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
def store(gcs):
    """TensorStore that hardly waits before it tries again."""
    retries = {"max_retries": 3, "initial_delay": "1ms", "max_delay": "2ms"}
    context = tensorstore.Context({"gcs_request_retries": retries})
    spec = {"driver": "gcs", "bucket": BUCKET, "path": "store/"}
    return tensorstore.KvStore.open(spec, context=context).result()


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
import tensorstore
from google.cloud import storage
storage.Client(project="none").bucket("bucket").blob("name").upload_from_string("data")
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
