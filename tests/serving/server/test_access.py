"""Token, Host and Origin, and which servers there may be."""

import pytest
import requests
from starlette.datastructures import Headers
from support.http_server import REPOSITORY, Server

from hpa_jax.errors import InputError
from hpa_jax.serving.server import command
from hpa_jax.serving.server.access import make_access
from hpa_jax.serving.server.listener import listen, open_to_clients
from hpa_jax.serving.server.refusal import Refusal

TOKEN = "0123456789abcdef"


def status_of(access, path="/v1/predict", **headers) -> int:
    try:
        access.check(path, Headers({"host": "localhost:8000", **headers}))
    except Refusal as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    "host, expected",
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("localhost.:8000", 200),
        ("127.0.0.1:1", 200),
        ("127.0.0.2", 200),
        ("[::1]:8000", 200),
        ("", 400),
        ("evil.example", 400),
        ("evil.example:8000", 400),
        ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("192.168.0.7", 400),
        ("[::", 400),
    ],
)
def test_only_names_of_this_machine_are_its_names(host, expected):
    assert status_of(make_access("127.0.0.1", None, []), host=host) == expected


def test_a_host_that_is_missing_is_nobodys_name():
    access = make_access("LocalHost", None, ["images.example.org."])
    assert access.only_loopback
    assert status_of(access, host="images.example.org:8443") == 200
    assert status_of(access, host=" ") == 400


def test_a_name_that_no_name_server_could_know():
    with pytest.raises(InputError, match="cannot listen at aaa.*choose another --host"):
        listen("a" * 80, 0, "--port")


def test_two_servers_at_one_address():
    """Both have taken it before either of them listens, as two that start at once do."""
    first = listen("127.0.0.1", 0, "--port")
    port = first.getsockname()[1]
    with first, listen("127.0.0.1", port, "--metrics-port") as second:
        open_to_clients(first, "--port")
        with pytest.raises(InputError, match=f"port {port} .*in use.*--metrics-port"):
            open_to_clients(second, "--metrics-port")


def test_a_server_for_others_has_the_names_that_it_is_given():
    access = make_access("0.0.0.0", TOKEN, ["Images.Example.org"])
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert status_of(access, host="images.example.org", **bearer) == 200
    # An address is no name that a page could have.
    assert status_of(access, host="192.168.0.7:8000", **bearer) == 200
    assert status_of(access, host="other.example.org", **bearer) == 400


@pytest.mark.parametrize(
    "origin, expected",
    [
        ("http://localhost:8000", 200),
        ("https://LOCALHOST:8000", 200),
        ("http://localhost", 403),
        ("http://localhost:9000", 403),
        ("https://evil.example", 403),
        ("https://evil.example/localhost:8000", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_sites_are_refused(origin, expected):
    assert status_of(make_access("127.0.0.1", None, []), origin=origin) == expected


@pytest.mark.parametrize(
    "given, expected",
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        ("", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}0", 401),
        ("Bearer é", 401),
    ],
)
def test_the_token(given, expected):
    access = make_access("127.0.0.1", TOKEN, [])
    headers = {"authorization": given} if given else {}
    for path in ("/v1/predict", "/v1/model", "/metrics", "/v1/healthz"):
        assert status_of(access, path, **headers) == expected
    for path in ("/", "/healthz", "/readyz"):
        assert status_of(access, path) == 200


def test_over_http(export, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    arguments = ("--host=0.0.0.0", f"--token-file={file}", "--metrics-port=0", "--threads=1")
    server = Server(export, *arguments).wait()
    local = server.url.replace("0.0.0.0", "127.0.0.1")
    metrics = server.metrics_url.replace("0.0.0.0", "127.0.0.1")
    right = {"Authorization": f"Bearer {TOKEN}"}
    for url in (f"{local}/v1/model", metrics):
        answer = requests.get(url, timeout=60)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert "Bearer TOKEN" in answer.json()["error"] and TOKEN not in answer.text
        assert requests.get(url, headers=right, timeout=60).status_code == 200
    # Before a byte of the body is asked for.
    answer = requests.post(f"{local}/v1/predict", data=bytes(2**20), timeout=60)
    assert answer.status_code == 401
    answer = requests.get(f"{local}/v1/model", headers=right | {"Host": "x.example"}, timeout=60)
    assert answer.status_code == 400
    assert requests.get(f"{local}/", timeout=60).status_code == 200
    assert server.stop() == 0
    assert TOKEN not in server.log()


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "cannot be read"),
        (b"", "one line"),
        (b"\n", "one line"),
        (b"two words", "one line"),
        (b"two\nlines", "one line"),
        (b"\xff\xfe", "one line"),
        (b"a" * 5000, "one line"),
    ],
)
def test_a_file_without_a_token_is_refused(tmp_path, content, words):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=f"--token-file=.*{words}"):
        command.main([str(tmp_path), f"--token-file={file}"])


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--host=0.0.0.0"], "--token-file"),
        (["--host=::"], "--token-file"),
        (["--host=[::1]"], "--host=.* no brackets"),
        (["--host=127.0.0.1:80"], "--host=.* no port"),
        (["--allow-host=https://images.example.org"], "--allow-host=https.* a name"),
        (["--allow-host="], "--allow-host=: give a name"),
        (["--port=70000"], "a port from 0 to 65535"),
        (["--port=x"], "--port=x: give a port"),
        (["--queue=0"], "--queue=0: .* from 1"),
        (["--max-body=-1"], "from 1"),
        (["--expect-sha256=12"], "64 hexadecimal digits"),
        (["--nonsense"], "--nonsense"),
        ([], "export"),
    ],
)
def test_wrong_calls_are_one_line(tmp_path, flags, words):
    with pytest.raises(InputError, match=words) as caught:
        command.main([str(tmp_path), *flags])
    assert "\n" not in str(caught.value)


def test_an_address_that_is_taken_or_none(export):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} .*in use.*--port"):
            command.main([str(export), f"--port={port}"])


def test_another_export_than_expected_is_refused(export):
    with pytest.raises(InputError, match="SHA-256"):
        command.main([str(export), "--port=0", f"--expect-sha256={'0' * 63}1"])


def test_an_export_without_onnx_or_none_at_all_is_refused(tmp_path):
    old = REPOSITORY / "tests" / "golden" / "version_0_1" / "run" / "export"
    with pytest.raises(
        InputError, match="no model.onnx, which a server runs.*export the run again"
    ):
        command.main([str(old), "--port=0"])
    with pytest.raises(InputError, match="no complete export"):
        command.main([str(tmp_path), "--port=0"])
