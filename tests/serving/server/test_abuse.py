"""Clients that want it to fall: wrong files, too much, too many at once."""

import io
import random
import struct
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from support.awkward_files import awkward_files
from support.http_server import Server, exchange, head, until
from support.image_files import encoded

from hpa_jax.labels import CHANNELS

GREEN = "/v1/predict?missing=red,blue,yellow"


def png(width: int, height: int, pixels: bytes) -> bytes:
    """An eight-bit PNG that says it has this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def refused(answer: requests.Response) -> str:
    assert answer.status_code in (400, 413, 422), answer.text
    text = answer.json()["error"]
    assert text and "\n" not in text and "Traceback" not in text
    return text


def test_awkward_files_are_scored_or_refused_in_one_line(server):
    """The corpus, each file as the green channel of a request."""
    session = requests.Session()
    for file in awkward_files():
        answer = session.post(server.url + GREEN, files={"green": file.data}, timeout=60)
        if file.pixels is not None:
            assert answer.status_code == 200, (file.name, answer.text)
        else:
            assert file.words in refused(answer), file.name


@pytest.mark.parametrize(
    "data, words",
    [
        (png(100_000, 100_000, b""), "100000 x 100000"),
        (png(4096, 4097, b""), "4096 x 4097"),
        (png(0, 8, b""), "0 x 8"),
    ],
    ids=["a claim", "just too large", "nothing"],
)
def test_images_that_are_bombs(server, data, words):
    before = server.memory()
    answer = requests.post(server.url + GREEN, files={"green": data}, timeout=60)
    assert words in refused(answer)
    assert server.memory() < before + 50


def test_an_image_with_more_inside_than_its_pixels_costs_no_memory(server):
    data = png(8, 8, bytes(100_000_000))
    before = server.memory()
    answer = requests.post(server.url + GREEN, files={"green": data}, timeout=60)
    assert answer.status_code in (200, 422)
    assert server.memory() < before + 50


def test_a_zip_that_is_a_bomb_or_a_maze(server):
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive:
        for channel in CHANNELS:
            archive.writestr(f"a_{channel}.png", bytes(12 * 2**20))
    before = server.memory()
    text = refused(requests.post(server.url + "/v1/predict", data=zeros.getvalue(), timeout=60))
    assert "claims" in text
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w") as archive:
        archive.writestr("inner.zip", zeros.getvalue())
    refused(requests.post(server.url + "/v1/predict", data=nested.getvalue(), timeout=60))
    # 60,000 entries, all in 3 MB.
    entry = b"PK\x01\x02" + bytes(42)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, 60_000 * 46, 4, 0)
    maze = b"PK\x03\x04" + entry * 60_000 + end
    assert "512" in refused(requests.post(server.url + "/v1/predict", data=maze, timeout=60))
    assert server.memory() < before + 50


def test_forms_that_are_damaged_anywhere(server, field):
    """Bytes changed, taken out and cut off; always an answer, never the server's own fault."""
    form = requests.Request("POST", server.url + "/v1/predict", files=field).prepare()
    kind = form.headers["Content-Type"]
    chance = random.Random(3)
    session = requests.Session()
    statuses = set()
    for _ in range(60):
        body = bytearray(form.body)
        # Among the heads of the parts, where it hurts.
        at = chance.choice([i for i in range(len(body) - 9) if body[i : i + 4] == b"\r\n\r\n"])
        for _ in range(chance.randrange(1, 4)):
            body[max(0, at - chance.randrange(120))] = chance.randrange(256)
        if chance.random() < 0.3:
            del body[chance.randrange(len(body)) :]
        answer = session.post(
            server.url + "/v1/predict", data=bytes(body), headers={"Content-Type": kind}, timeout=60
        )
        statuses.add(answer.status_code)
        if answer.status_code != 200:
            refused(answer)
    assert statuses <= {200, 400, 422} and len(statuses) > 1


@pytest.mark.slow
def test_fifty_clients_at_once(export, field):
    server = Server(export, "--queue=4", "--threads=1", "--metrics-port=0").wait()
    expected = requests.post(server.url + "/v1/predict", files=field, timeout=60).text
    begin = threading.Barrier(50, timeout=60)

    def ask(number: int) -> set[int]:
        session = requests.Session()
        begin.wait()
        found = set()
        for _ in range(10):
            answer = session.post(server.url + "/v1/predict", files=field, timeout=120)
            found.add(answer.status_code)
            if answer.status_code == 200:
                assert answer.text == expected
            else:
                assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
        return found

    with ThreadPoolExecutor(50) as pool:
        statuses = set().union(*pool.map(ask, range(50)))
    assert statuses == {200, 503}
    # A larger queue answers all of them.
    assert server.stop() == 0
    server = Server(export, "--queue=64", "--threads=1").wait()
    with ThreadPoolExecutor(50) as pool:
        assert set().union(*pool.map(ask, range(50))) == {200}
    assert server.memory() < 250
    assert server.stop() == 0
    assert "Traceback" not in server.log() and "internal error" not in server.log()


@pytest.mark.slow
def test_seventy_megabytes(export):
    server = Server(export).wait()
    data = bytes(70 * 2**20)

    def pieces():
        for at in range(0, len(data), 2**20):
            yield data[at : at + 2**20]

    for body in (data, pieces()):
        answer = requests.post(server.url + "/v1/predict", data=body, timeout=60)
        assert answer.status_code == 413 and "--max-body" in answer.json()["error"]
    assert server.memory() < 250
    assert server.stop() == 0


@pytest.mark.slow
def test_the_largest_images_eight_times_at_once(export):
    """Bounded by the threads that read, not by the number of clients."""
    server = Server(export, "--threads=2").wait()
    values = np.random.default_rng(0).integers(0, 256, (4096, 4096), np.uint8) // 16 * 16
    files = {name: encoded(values, "PNG", compress_level=1) for name in CHANNELS}
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda _: requests.post(server.url + "/v1/predict", files=files, timeout=300), range(8)
        )
        statuses = [answer.status_code for answer in answers]
    # The uploads together may be as large as four bodies: some may have to come again.
    assert set(statuses) <= {200, 503} and 200 in statuses, statuses
    assert server.memory() < 1200
    assert server.stop() == 0
    assert "Traceback" not in server.log() and "internal error" not in server.log()


@pytest.mark.slow
def test_clients_that_go_away_leave_nothing_behind(export, field):
    server = Server(export, "--metrics-port=0", "--threads=1", "--queue=200").wait()
    form = requests.Request("POST", server.url + "/v1/predict", files=field).prepare()
    start = head(Content_Type=form.headers["Content-Type"], Content_Length=str(len(form.body)))
    for number in range(100):
        with server.connect() as connection:
            connection.sendall((start + form.body)[: len(start) + number * len(form.body) // 90])

    def quiet() -> bool:
        text = requests.get(server.metrics_url, timeout=60).text
        return "hpa_requests_in_work 0.0" in text and "hpa_upload_bytes 0.0" in text

    until(quiet, "it forgets them")
    assert exchange(server, head("/readyz", "GET", Connection="close")).endswith(b"ok\n")
    assert server.stop() == 0
    assert "Traceback" not in server.log() and "internal error" not in server.log()


@pytest.mark.slow
def test_the_true_limits_of_time(export):
    """Those that users have: 5 s for a head, 10 s for the next piece of a body."""
    server = Server(export).wait()
    sent = (b"", b"POST /v1/pre", head()[:-2], head(Content_Length="5000") + b"x")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda data: exchange(server, data), sent))
    assert answers[:3] == [b"", b"", b""]
    assert answers[3].startswith(b"HTTP/1.1 408 ")
    assert server.stop() == 0
