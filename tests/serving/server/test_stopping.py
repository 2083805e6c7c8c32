"""The end: what is under way is answered, and the status is 0."""

import signal
import threading

import pytest
import requests
from support.http_server import LONG, Server, everything, exchange, head, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_status_0(export, number):
    server = Server(export, "--threads=1").wait()
    with server.connect() as idle, server.connect() as half:
        idle.sendall(head("/healthz", "GET"))
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += idle.recv(1000)
        half.sendall(b"GET /hea")
        server.process.send_signal(number)
        assert server.end() == 0
        assert everything(idle) == everything(half) == b""
    assert server.log().endswith("stopped\n") and "Traceback" not in server.log()


def test_under_load_each_request_that_was_sent_is_answered(export, field):
    server = Server(export, "--threads=1", "--queue=64").wait()
    count = 24
    answers: list = [None] * count
    # A body with its last byte kept back: sent, and not to be answered before the signal.
    form = requests.Request("POST", server.url + "/v1/predict", files=field).prepare()
    start = head(**{"Content_Type": form.headers["Content-Type"], "Content_Length": len(form.body)})
    sent = threading.Barrier(count + 1, timeout=LONG)
    stopped = threading.Event()

    def ask(number: int) -> None:
        with server.connect() as connection:
            connection.sendall(start + form.body[:-1])
            sent.wait()
            stopped.wait(LONG)
            connection.sendall(form.body[-1:])
            answers[number] = everything(connection)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    sent.wait()
    # Each of them has been accepted: a later connection has.
    assert exchange(server, head("/healthz", "GET", Connection="close")).endswith(b"ok\n")
    server.process.terminate()
    until(lambda: "stopping" in server.log(), "it hears the signal")
    stopped.set()
    for thread in threads:
        thread.join()
    assert server.end() == 0
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"}\n")
    assert "Traceback" not in server.log() and "internal error" not in server.log()


def test_a_client_that_never_ends_does_not_keep_it(export):
    server = Server(export, "--threads=1", "drain_seconds=1", "pause_seconds=600").wait()
    with server.connect() as stalled:
        stalled.sendall(head(Content_Length="5000") + b"x")
        until(lambda: exchange(server, head("/healthz", "GET", Connection="close")), "it runs")
        server.process.terminate()
        answer = everything(stalled)
        assert server.end() == 0
    assert answer.startswith(b"HTTP/1.1 503 ") and b"the server stops" in answer
    assert "Traceback" not in server.log()
