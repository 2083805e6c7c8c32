"""The HTTP client's limits: time, speed, size, rate. Its callers' tests have all else.

tests/pretrained/test_fetch.py and tests/tfds_builder/test_download.py.
"""

import math
import ssl
import subprocess
import threading
import time

import pytest
from support.misbehaving_server import Server, jpg

from hpa_jax.http_fetch import Failed, HttpClient, Policy, RateLimiter, Stopped
from hpa_jax.http_fetch import client as http_client

QUICK = Policy(retries=0, backoff=0.01)


@pytest.fixture
def server():
    with Server() as server:
        yield server


def address(server, path="/a"):
    return f"http://127.0.0.1:{server.server_port}{path}"


def no_fault(content):
    return ""


def failure(client, url, check=no_fault):
    with pytest.raises(Failed) as caught:
        client.get(url, check)
    return str(caught.value)


def test_a_silent_server_is_given_up_before_the_deadline(server, monkeypatch):
    monkeypatch.setattr(http_client, "READ_TIMEOUT", 0.3)
    server.plan["/a"] = ["silent"]
    assert failure(HttpClient(QUICK), address(server)) == "gives no answer in time (tries: 1)"


@pytest.mark.parametrize("behaviour", ["drip", "drip_headers", "silent"])
def test_no_server_can_hold_a_client_beyond_the_deadline(server, behaviour):
    server.plan["/a"] = [behaviour]
    start = time.monotonic()
    text = failure(HttpClient(QUICK._replace(timeout=0.5)), address(server))
    assert text == "is not complete after 0.5 s (tries: 1)"
    # The server would go on for ten minutes.
    assert time.monotonic() - start < 120


def test_a_fast_transfer_may_take_longer_than_the_deadline(server):
    server.bodies["/a"] = bytes(10_000)
    policy = QUICK._replace(timeout=0.5)
    server.plan["/a"] = ["slowly 2", "slowly 2", "slowly 2"]
    assert "is not complete" in failure(HttpClient(policy), address(server))
    slow_enough = policy._replace(min_rate=100.0)
    assert HttpClient(slow_enough).get(address(server), no_fault) == bytes(10_000)
    too_slow = policy._replace(min_rate=100_000.0)
    assert "is not complete" in failure(HttpClient(too_slow), address(server))


def test_a_file_may_have_as_many_bytes_as_the_policy_says(server):
    size = len(jpg("/a"))
    assert HttpClient(QUICK._replace(max_bytes=size)).get(address(server), no_fault) == jpg("/a")
    text = failure(HttpClient(QUICK._replace(max_bytes=size - 1)), address(server))
    assert text == "has more than 0 MB"


def test_content_that_fails_its_check_is_fetched_again(server):
    client = HttpClient(QUICK._replace(retries=2))
    assert failure(client, address(server), lambda body: "is odd") == "is odd (tries: 3)"
    assert len(server.log) == 3


def test_requests_after_a_redirect_keep_the_rate(server):
    for path in ("/a", "/b"):
        server.plan[path] = ["redirect"]
    client = HttpClient(QUICK, RateLimiter(5))
    start = time.monotonic()
    for path in ("/a", "/b"):
        assert client.get(address(server, path), no_fault) == jpg(path)
    times = [at for at, _, _ in server.log]
    assert len(times) == 4
    # None comes before its turn; a busy machine may bring them later.
    for number, at in enumerate(times):
        assert at - start >= number / 5 - 0.01


@pytest.mark.parametrize("scheme", ["ftp", "file", "gopher"])
def test_a_redirect_leaves_the_web_for_nothing_else(server, scheme):
    server.plan["/a"] = [f"redirect_to {scheme}://127.0.0.1/etc/passwd"]
    text = failure(HttpClient(QUICK._replace(retries=2)), address(server))
    assert text.startswith(f"is redirected to {scheme}, which is not followed: {scheme}://")
    # It is not tried again.
    assert len(server.log) == 1


@pytest.fixture
def secure(server, tmp_path, monkeypatch):
    """The address of the server, which speaks TLS, with a certificate that clients trust."""
    key = tmp_path / "key"
    certificate = tmp_path / "certificate"
    request = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-subj", "/CN=localhost"]
    request += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key, "-out", certificate]
    request += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(request, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return f"https://127.0.0.1:{server.server_port}/a"


def test_what_was_asked_for_safely_is_not_fetched_otherwise(server, secure):
    client = HttpClient(QUICK)
    server.plan["/a"] = ["redirect_to http://127.0.0.1:1/a", "redirect"]
    text = failure(client, secure)
    assert text.startswith("is redirected to http, which is not followed")
    # To another place of the same kind it is.
    assert client.get(secure, no_fault) == jpg("/a")


def test_stop_ends_an_attempt_in_another_thread(server):
    server.plan["/a"] = ["drip"]
    limiter = RateLimiter()
    client = HttpClient(QUICK, limiter)
    ended = threading.Event()

    def fetch():
        with pytest.raises(Stopped):
            client.get(address(server), no_fault)
        ended.set()

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    while not server.log:
        time.sleep(0.01)
    limiter.stop.set()
    client.abort()
    assert ended.wait(120)
    with pytest.raises(Stopped):
        limiter.sleep(math.inf)


def test_requests_after_a_pause_do_not_come_all_at_once():
    limiter = RateLimiter(50)
    limiter.pause(1.0)
    times = []

    def request():
        limiter.acquire()
        times.append(time.monotonic())

    threads = [threading.Thread(target=request) for _ in range(6)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    limiter.pause(1.2)  # asked for while they wait
    for thread in threads:
        thread.join()
    assert min(times) - start >= 1.19
    assert max(times) - start >= 1.19 + 5 / 50
