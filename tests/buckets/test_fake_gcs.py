"""The fake Google Cloud Storage: by plain HTTP."""

import base64
import concurrent.futures
import http.client
import json
import os
import socket
import time
import urllib.parse

import pytest
from support.fake_gcs import TOKEN, FakeGcs, LoggedRequest

BUCKET = "bucket"
MEDIA = "/storage/v1/b/bucket/o/{}?alt=media"


@pytest.fixture
def gcs():
    with FakeGcs(buckets=[BUCKET]) as started:
        yield started


@pytest.fixture
def ask(gcs):
    """Asks over one connection; returns the status, the headers and the body."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(gcs.url).netloc, timeout=60)

    def request(method, path, body=None, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    yield request
    connection.close()


def upload(name, **query):
    return f"/upload/storage/v1/b/{BUCKET}/o?" + urllib.parse.urlencode({"name": name, **query})


def test_object_is_written_and_described(gcs, ask):
    status, _, body = ask("POST", upload("a/b c", uploadType="media"), b"123456789")
    found = json.loads(body)
    assert status == 200
    assert gcs.get(BUCKET, "a/b c") == b"123456789"
    assert found["size"] == "9"
    # The check value of CRC-32C: e3069283.
    assert found["crc32c"] == "4waSgw=="
    assert base64.b64decode(found["md5Hash"]).hex() == "25f9e794323b453885f5181f1b624d0b"
    assert found["generation"] == str(gcs.generation(BUCKET, "a/b c"))
    assert found["metageneration"] == "1"
    assert found["updated"].endswith("Z")


def test_ranges(gcs, ask):
    gcs.put(BUCKET, "name", b"0123456789")
    path = MEDIA.format("name")
    status, headers, body = ask("GET", path, Range="bytes=2-4")
    assert (status, body, headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert headers["X-Goog-Generation"] == str(gcs.generation(BUCKET, "name"))
    assert ask("GET", path, Range="bytes=7-")[2] == b"789"
    assert ask("GET", path, Range="bytes=-3")[2] == b"789"
    assert ask("GET", path, Range="bytes=7-100")[2] == b"789"
    assert ask("GET", path)[2] == b"0123456789"
    assert ask("GET", "/bucket/name")[2] == b"0123456789"
    status, headers, _ = ask("GET", path, Range="bytes=10-11")
    assert (status, headers["Content-Range"]) == (416, "bytes */10")


def test_generations_never_repeat(gcs):
    seen = []
    for _ in range(5):
        seen.append(gcs.put(BUCKET, "name", b""))
        gcs.delete(BUCKET, "name")
    assert seen == sorted(set(seen))


def test_errors_have_a_body(gcs, ask):
    status, _, body = ask("GET", "/storage/v1/b/bucket/o/none")
    assert (status, json.loads(body)["error"]["code"]) == (404, 404)
    assert json.loads(body)["error"]["message"] == "No such object: bucket/none"
    assert ask("GET", "/storage/v1/b/nowhere/o")[0] == 404
    assert ask("GET", "/storage/v1/b/nowhere")[0] == 404
    assert ask("GET", "/storage/v1/b/bucket")[0] == 200
    assert ask("POST", upload("x\ny", uploadType="media"), b"")[0] == 400


def test_tokens(gcs, ask):
    assert ask("GET", "/storage/v1/b/bucket", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask("GET", "/storage/v1/b/bucket", Authorization="Bearer wrong")[0] == 401
    with FakeGcs(buckets=[BUCKET], anonymous=False) as closed:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(closed.url).netloc)
        connection.request("GET", "/storage/v1/b/bucket")
        assert connection.getresponse().status == 401
        connection.close()


def test_forbidden_listing_leaves_reads(gcs, ask):
    gcs.put(BUCKET, "name", b"data")
    gcs.faults.forbid(BUCKET, ["LIST"])
    status, _, body = ask("GET", "/storage/v1/b/bucket/o")
    assert (status, json.loads(body)["error"]["errors"][0]["reason"]) == (403, "forbidden")
    assert ask("GET", MEDIA.format("name"))[0] == 200
    gcs.faults.allow(BUCKET)
    assert ask("GET", "/storage/v1/b/bucket/o")[0] == 200


def test_preconditions(gcs, ask):
    new = upload("name", uploadType="media", ifGenerationMatch=0)
    assert ask("POST", new, b"first")[0] == 200
    assert ask("POST", new, b"second")[0] == 412
    generation = gcs.generation(BUCKET, "name")
    path = "/storage/v1/b/bucket/o/name?"
    assert ask("GET", path + f"ifGenerationMatch={generation}")[0] == 200
    assert ask("GET", path + "ifGenerationMatch=7")[0] == 412
    assert ask("GET", path + f"ifGenerationNotMatch={generation}")[0] == 304
    assert ask("GET", path + "ifMetagenerationMatch=2")[0] == 412
    assert ask("GET", path + "generation=7")[0] == 404
    assert ask("PATCH", path, b'{"metadata": {"key": "value"}}')[0] == 200
    assert ask("GET", path + "ifMetagenerationMatch=2")[0] == 200
    assert ask("DELETE", path + "ifGenerationMatch=7")[0] == 412
    assert ask("DELETE", path + f"ifGenerationMatch={generation}")[0] == 204
    assert ask("POST", upload("name", uploadType="media", ifGenerationMatch=7), b"")[0] == 412
    assert gcs.names(BUCKET) == []


def test_pages_of_a_listing(gcs, ask):
    names = ["a/1", "a/2", "b", "c/", "c/1", "d/1/2", "é"]
    for name in reversed(names):
        gcs.put(BUCKET, name, b"")

    def pages(**query):
        found = []
        token = {}
        while True:
            address = "/storage/v1/b/bucket/o?" + urllib.parse.urlencode(query | token)
            page = json.loads(ask("GET", address)[2])
            found += [entry["name"] for entry in page.get("items", [])]
            found += page.get("prefixes", [])
            if "nextPageToken" not in page:
                return found
            token = {"pageToken": page["nextPageToken"]}

    for size in (1, 2, 1000):
        assert pages(maxResults=size) == names
        assert sorted(pages(maxResults=size, delimiter="/")) == ["a/", "b", "c/", "d/", "é"]
        assert pages(maxResults=size, prefix="c/", delimiter="/") == ["c/", "c/1"]
        assert pages(maxResults=size, startOffset="a/2", endOffset="c/1") == ["a/2", "b", "c/"]


def test_resumable_upload_goes_on_where_it_broke(gcs, ask):
    data = os.urandom(1_000_000)
    status, headers, _ = ask("POST", upload("name", uploadType="resumable"), b"{}")
    path = headers["Location"].removeprefix(gcs.url)
    assert status == 200

    def state():
        status, headers, _ = ask("PUT", path, b"", Content_Range="bytes */1000000")
        return status, headers["Range"]

    assert state() == (308, None)
    # The client dies 600,000 bytes into the body; of those, multiples of 256 KiB are kept.
    with socket.create_connection(("127.0.0.1", int(gcs.url.rpartition(":")[2]))) as client:
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Range: bytes 0-999999/1000000\r\n"
        client.sendall(head.encode() + b"Content-Length: 1000000\r\n\r\n" + data[:600_000])
    while gcs.count("PUT", "name") < 2:
        time.sleep(0.01)
    assert state() == (308, "bytes=0-524287")
    assert gcs.names(BUCKET) == []
    rest = {"Content_Range": "bytes 524288-999999/1000000"}
    assert ask("PUT", path, data[524_288:], **rest)[0] == 200
    assert gcs.get(BUCKET, "name") == data
    assert state() == (200, None)


def test_cancelled_upload_is_gone(gcs, ask):
    _, headers, _ = ask("POST", upload("name", uploadType="resumable"), b"{}")
    path = headers["Location"].removeprefix(gcs.url)
    assert ask("DELETE", path)[0] == 499
    assert ask("PUT", path, b"data")[0] == 404


def test_lists_lag_behind_what_is_written(gcs, ask):
    def listed():
        page = json.loads(ask("GET", "/storage/v1/b/bucket/o")[2])
        return [entry["name"] for entry in page.get("items", [])]

    gcs.put(BUCKET, "old", b"data")
    gcs.faults.list_lag_s = 3600
    gcs.put(BUCKET, "new", b"data")
    gcs.delete(BUCKET, "old")
    assert listed() == ["old"]
    assert ask("GET", MEDIA.format("new"))[0] == 200
    assert ask("GET", MEDIA.format("old"))[0] == 404
    # Older than this from now on.
    time.sleep(0.02)
    gcs.faults.list_lag_s = 0.01
    assert listed() == ["new"]


def test_flipped_bit_keeps_the_checksum(gcs, ask):
    gcs.put(BUCKET, "name", b"data")
    before = ask("GET", MEDIA.format("name"))[1]["X-Goog-Hash"]
    gcs.flip_bit(BUCKET, "name", 1)
    _, headers, body = ask("GET", MEDIA.format("name"))
    assert body == b"d`ta"
    assert headers["X-Goog-Hash"] == before


def test_requests_are_logged_in_order(gcs, ask):
    ask("POST", upload("name", uploadType="media"), b"data")
    ask("GET", MEDIA.format("name"), Range="bytes=0-1")
    assert gcs.requests == [
        LoggedRequest("POST", "/upload/storage/v1/b/bucket/o", "name", 200, 4),
        LoggedRequest("GET", "/storage/v1/b/bucket/o/name", "name", 206, 2),
    ]
    assert gcs.count() == 2
    assert gcs.count("GET", "nam") == 1
    assert gcs.count(name="other") == 0


def test_slow_answers(gcs, ask):
    gcs.put(BUCKET, "name", bytes(30_000))
    gcs.faults.latency_s = 0.1
    start = time.monotonic()
    ask("GET", "/storage/v1/b/bucket")
    assert time.monotonic() - start >= 0.1
    gcs.faults.clear()
    gcs.faults.bytes_per_s = 100_000
    start = time.monotonic()
    ask("GET", MEDIA.format("name"))
    assert time.monotonic() - start >= 0.25
    start = time.monotonic()
    ask("POST", upload("name", uploadType="media"), bytes(30_000))
    assert time.monotonic() - start >= 0.25


def test_requests_overtake_each_other(gcs):
    for number in range(16):
        gcs.put(BUCKET, str(number), b"data")
    gcs.faults.reorder_s = 0.2

    def read(number):
        time.sleep(number / 1000)
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(gcs.url).netloc)
        connection.request("GET", MEDIA.format(number))
        connection.getresponse().read()
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(read, range(16)))
    answered = [int(entry.name) for entry in gcs.requests]
    assert sorted(answered) == list(range(16))
    assert answered != sorted(answered)


def test_download_breaks_after_so_many_bytes(gcs, ask):
    gcs.put(BUCKET, "name", b"0123456789")
    gcs.faults.break_connections(1, after_bytes=4)
    with pytest.raises(http.client.IncompleteRead) as error:
        ask("GET", MEDIA.format("name"))
    assert error.value.partial == b"0123"


def test_faults_are_for_what_they_name(gcs, ask):
    gcs.put(BUCKET, "one", b"")
    gcs.put(BUCKET, "two", b"")
    gcs.faults.throttle(1, status=503, method="GET", name="tw", retry_after="7")
    assert ask("GET", MEDIA.format("one"))[0] == 200
    status, headers, _ = ask("GET", MEDIA.format("two"))
    assert (status, headers["Retry-After"]) == (503, "7")
    assert ask("GET", MEDIA.format("two"))[0] == 200
    with pytest.raises(ValueError, match="418"):
        gcs.faults.throttle(1, status=418)
