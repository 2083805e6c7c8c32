"""Objects by name, when the service throttles, breaks connections, loses answers and refuses."""

import pytest

from hpa_jax.buckets import client
from hpa_jax.buckets.url import parse
from hpa_jax.errors import InputError, RunStopped

BUCKET = "bucket"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_repeated(connected, bucket, status):
    connected.faults.throttle(3, status)
    info = bucket.write("a", b"1")
    connected.faults.throttle(3, status)
    assert bucket.read("a") == (b"1", info.generation)
    connected.faults.throttle(3, status)
    assert bucket.stat("a") == info
    connected.faults.throttle(3, status)
    assert bucket.list("") == [info]
    connected.faults.throttle(3, status)
    assert bucket.read_range("a", 0, 1, info.generation) == b"1"
    connected.faults.throttle(3, status)
    bucket.delete("a")
    assert connected.names(BUCKET) == []


def test_broken_downloads_go_on(connected, bucket, tmp_path):
    content = bytes(range(256)) * 4096
    generation = connected.put(BUCKET, "a", content)
    connected.faults.break_connections(2, after_bytes=300_000, method="GET")
    assert bucket.read("a")[0] == content
    connected.faults.break_connections(2, after_bytes=300_000, method="GET")
    bucket.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content
    connected.faults.break_connections(2, after_bytes=10, method="GET")
    assert bucket.read_range("a", 5, 300, generation) == content[5:305]


def test_a_large_upload_that_breaks_goes_on(connected, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "_UPLOAD_PART_BYTES", 2**20)
    content = bytes(range(256)) * (9 * 2**12)
    (tmp_path / "a").write_bytes(content)
    connected.faults.break_connections(3, after_bytes=2**19, method="PUT")
    connected.faults.throttle(3, 503, method="PUT")
    connected.faults.lose_answers(3, method="PUT")
    bucket.upload(tmp_path / "a", "a", 0)
    assert connected.get(BUCKET, "a") == content
    sent = sum(entry.bytes for entry in connected.requests if entry.method == "PUT")
    assert sent < 2 * len(content)


def test_an_upload_that_was_forgotten_begins_anew(connected, bucket, tmp_path):
    content = bytes(9 * 2**20)
    (tmp_path / "a").write_bytes(content)
    begin = connected.service._begin
    forgotten = []

    def begin_and_forget(request):
        answer = begin(request)
        if len(forgotten) < 2:
            forgotten.append(connected.service._uploads.popitem())
        return answer

    connected.service._begin = begin_and_forget
    bucket.upload(tmp_path / "a", "a")
    assert connected.get(BUCKET, "a") == content and len(forgotten) == 2


def test_a_write_whose_answer_is_lost_is_known_again(connected, bucket, tmp_path):
    connected.faults.lose_answers(1, method="POST")
    info = bucket.write("a", b"1", 0)
    assert info.generation == connected.generation(BUCKET, "a")
    (tmp_path / "a").write_bytes(b"12")
    connected.faults.lose_answers(2, method="POST")
    info = bucket.upload(tmp_path / "a", "a", info.generation)
    assert info == bucket.stat("a") and info.size == 2
    # But what another one has written is not.
    connected.put(BUCKET, "a", b"21")
    for write in (bucket.write, lambda *it: bucket.upload(tmp_path / "a", it[0], it[2])):
        with pytest.raises(client.Changed):
            write("a", b"12", info.generation)
    assert connected.get(BUCKET, "a") == b"21"


def test_only_the_generation_that_is_named_is_removed_or_read(connected, bucket):
    first = connected.put(BUCKET, "a", b"1")
    connected.put(BUCKET, "a", b"2")
    bucket.delete("a", first)
    assert connected.get(BUCKET, "a") == b"2"
    with pytest.raises(client.Changed):
        bucket.read_range("a", 0, 1, first)
    bucket.delete("a")
    bucket.delete("a")
    for read in (bucket.read, lambda name: bucket.read_range(name, 0, 1, first)):
        with pytest.raises(client.Missing):
            read("a")
    assert bucket.stat("a") is None


def test_damaged_objects_are_named(connected, bucket, tmp_path):
    connected.put(BUCKET, "a", b"12345")
    connected.flip_bit(BUCKET, "a", 2)
    for read in (bucket.read, lambda name: bucket.download(name, tmp_path / "a")):
        with pytest.raises(client.Damaged, match="gs://bucket/a is damaged"):
            read("a")
    assert list(tmp_path.glob("*")) == [tmp_path / "scratch"] or not list(tmp_path.glob("a*"))


@pytest.mark.parametrize("method", ["stat", "list", "read", "write", "delete"])
def test_errors_are_one_line_each(connected, bucket, method):
    def call(of=bucket):
        arguments = ("a", b"") if method == "write" else ("a",)
        return getattr(of, method)(*arguments)

    def message(kind):
        with pytest.raises(kind) as caught:
            call()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    connected.put(BUCKET, "a", b"")
    connected.faults.forbid(BUCKET)
    assert "storage.objects." in message(InputError) and "gs://bucket" in message(InputError)
    connected.faults.clear()
    connected.faults.expire_tokens()
    assert "credentials are not accepted" in message(InputError)
    connected.faults.clear()
    connected.faults.throttle(10**6, 503)
    assert "has not answered for 0.3 s" in _soon(call)
    connected.faults.clear()
    if method != "stat":
        with pytest.raises(InputError, match="gs://missing: there is no such bucket"):
            call(client.Bucket(parse("gs://missing")))


def _soon(call):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(client.TIMEOUT, "0.3")
        with pytest.raises(RunStopped) as caught:
            call(client.Bucket(parse(f"gs://{BUCKET}")))
    return str(caught.value)


def test_an_object_that_is_missing_is_no_missing_bucket(connected, bucket):
    """Whatever words the service has for it."""
    answer = connected.service.answer

    def in_other_words(request):
        found = answer(request)
        if found.status == 404:
            body = found.body.replace(b"No such object", b"Not Found in bucket")
            found = found._replace(body=body)
        return found

    connected.service.answer = in_other_words
    with pytest.raises(client.Missing):
        bucket.read("a")


def test_a_service_that_is_away(connected, bucket):
    connected.__exit__()
    assert "has not answered for 0.3 s" in _soon(lambda of=bucket: of.read("a"))
    connected.__enter__()


def test_seconds_that_are_none(connected, monkeypatch):
    monkeypatch.setenv(client.TIMEOUT, "soon")
    with pytest.raises(InputError, match="HPA_BUCKET_TIMEOUT_S=soon"):
        client.Bucket(parse(f"gs://{BUCKET}"))
