"""Clients that keep to no rule of HTTP, or take their time; the limits are short ones."""

import json
import re
import resource
import socket
from pathlib import Path

import pytest
from support.http_server import Server, everything, exchange, head, until

GET = head("/healthz", "GET")


@pytest.fixture(scope="module")
def hasty(export):
    """A server that waits for nobody."""
    limits = ("head_seconds=1", "pause_seconds=1", "body_seconds=3", "connections=24")
    running = Server(export, "--max-body=1", "write_seconds=1", *limits).wait()
    yield running
    assert running.stop() == 0, running.log()
    assert "Traceback" not in running.log() and "error" not in running.log()
    assert running.process.stderr.closed or running.log().count("\n") <= 4, running.log()


def error_of(answer: bytes) -> str:
    """The one line of the first answer's JSON."""
    _, _, body = answer.partition(b"\r\n\r\n")
    text = json.loads(body.splitlines()[0])["error"]
    assert text and "\n" not in text
    return text


@pytest.mark.parametrize(
    "pieces, statuses",
    [
        pytest.param((), 0, id="nothing"),
        pytest.param((b"POST /v1/pre",), 0, id="half a request line"),
        pytest.param((head()[:-2] + b"X-A: 1\r\n",), 0, id="half the headers"),
        pytest.param((GET, b"GET /heal"), 1, id="an answer, then half a request line"),
        pytest.param((GET + GET + GET,), 3, id="three requests at once, then nothing"),
    ],
)
def test_a_head_that_never_ends_is_closed(hasty, pieces, statuses):
    answer = exchange(hasty, *pieces)
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1") == statuses


def test_a_head_that_comes_byte_by_byte_is_closed_too(hasty):
    with hasty.connect() as connection:
        connection.settimeout(0.05)
        for _ in range(2000):
            try:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nX: "[:1])
                if not connection.recv(100):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    raise AssertionError("100 s, and still open")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"\x00" * 3000 + b"\r\n\r\n", id="zeros"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
            id="a length below 0",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000, id="a long header"
        ),
        pytest.param(
            head(Content_Length="3", Transfer_Encoding="chunked") + b"3\r\nabc\r\n0\r\n\r\n" + GET,
            id="two lengths",
        ),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
    ],
)
def test_what_is_no_http_is_refused_in_one_line(hasty, sent):
    answer = exchange(hasty, sent)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert re.search("HTTP/1.1|Host|Content-Length", error_of(answer))
    assert b" 200 OK" not in answer


def test_a_body_that_stalls_or_trickles_is_refused(hasty):
    start = head(Content_Length="5000", Content_Type="multipart/form-data; boundary=x")
    with hasty.connect() as stalled, hasty.connect() as trickling:
        stalled.sendall(start + b"--x\r\n")
        trickling.sendall(head(Content_Length="5000"))
        trickling.settimeout(0.1)
        answer = b""
        for _ in range(600):
            try:
                trickling.sendall(b"-")
                answer = trickling.recv(2**16)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        answer = everything(stalled)
    assert answer.startswith(b"HTTP/1.1 408 ") and "in time" in error_of(answer)


@pytest.mark.parametrize("said", [True, False])
def test_a_body_that_is_too_large_is_refused_at_once_and_never_read_to_its_end(hasty, said):
    with hasty.connect() as connection:
        if said:
            connection.sendall(head(Content_Length=str(10**12)))
        else:
            connection.sendall(head(Transfer_Encoding="chunked"))
        piece = b"a" * 2**16
        if not said:
            piece = b"10000\r\n" + piece + b"\r\n"
        sent = 0
        try:
            while sent < 2**33:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        assert sent < 2**33, "it reads for ever"
        answer = connection.recv(2**16) if said else b""
    assert not said or not answer or answer.startswith(b"HTTP/1.1 413 ")


def test_who_stops_sending_reads_why(server):
    answer = exchange(server, head(Content_Length=str(10**12)) + b"a" * 1000)
    assert answer.startswith(b"HTTP/1.1 413 ") and "--max-body" in error_of(answer)
    chunk = b"40000\r\n" + b"a" * 2**18 + b"\r\n"
    answer = exchange(server, head(Transfer_Encoding="chunked") + 17 * chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_chunks_that_are_none_end_the_request(hasty):
    start = head(Transfer_Encoding="chunked", Content_Type="multipart/form-data; boundary=x")
    answer = exchange(hasty, start + b"5\r\nabcde\r\n", b"no number\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_client_that_goes_in_the_middle_is_forgotten(hasty, field):
    for part in (
        b"",
        b"--x\r\n",
        b"--x\r\nContent-Disposition: form-data; name=red; filename=a\r\n\r\n",
    ):
        with hasty.connect() as connection:
            start = head(Content_Length="5000", Content_Type="multipart/form-data; boundary=x")
            connection.sendall(start + part)
    assert exchange(hasty, GET).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_takes_no_answer_does_not_keep_its_connection(hasty):
    """Answers that the system holds in part, and the server the rest: of each length some."""
    files = Path(f"/proc/{hasty.process.pid}/fd")
    before = len(list(files.iterdir()))
    request = head("/v1/model", "GET")
    connections = []
    for number in range(20):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(hasty.address)
        connection.sendall(request * (20 * number + 4))
        connections.append(connection)
    until(lambda: len(list(files.iterdir())) > before, "they are there")
    until(lambda: len(list(files.iterdir())) <= before, "they are closed")
    for connection in connections:
        connection.close()


def test_neither_websockets_nor_http_2(hasty):
    asked = head("/healthz", "GET", Connection="Upgrade", Upgrade="websocket")
    assert exchange(hasty, asked).startswith(b"HTTP/1.1 200 ")


def test_connections_are_counted(hasty):
    connections = [hasty.connect() for _ in range(60)]
    answers = [everything(connection) for connection in connections]
    refused = [answer for answer in answers if answer]
    assert len(refused) >= 60 - 24
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer.lower()
    # Those that were there have been closed, too: there is room again.
    until(lambda: exchange(hasty, GET).startswith(b"HTTP/1.1 200 "), "it recovers")


@pytest.mark.slow
def test_a_server_without_files_left_waits_and_says_so_once(export):
    server = Server(export, "head_seconds=1", "--threads=1").wait()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    connections = [server.connect() for _ in range(120)]
    until(lambda: "ulimit -n" in server.log(), "it has none left")
    for connection in connections:
        connection.close()
    assert exchange(server, head("/healthz", "GET", Connection="close")).endswith(b"ok\n")
    assert server.stop() == 0
    assert server.log().count("\n") == 5, server.log()
