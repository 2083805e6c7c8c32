"""Published weights in the cache, against a web server that misbehaves: the file, or why not."""

import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save
from support.misbehaving_server import Server

from hpa_jax import pretrained
from hpa_jax.errors import InputError
from hpa_jax.models import create_model, init_variables
from hpa_jax.pretrained.fetch import POLICY, default_cache, fetch
from hpa_jax.pretrained.sources import IMAGENET, SOURCES, Source

BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = POLICY._replace(retries=2, backoff=0.01, timeout=2.0)


@pytest.fixture
def server():
    with Server() as server:
        server.bodies["/w-0123.pth"] = BODY
        yield server


def source(server, digest=f"sha256:{SHA256[:8]}"):
    return Source(
        "densenet_tiny", f"http://127.0.0.1:{server.server_port}/w-0123.pth", digest, "", *IMAGENET
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("digest", [f"sha256:{SHA256[:8]}", f"md5:{hashlib.md5(BODY).hexdigest()}"])
def test_a_file_is_fetched_once_and_our_digest_recorded(server, tmp_path, digest):
    cache = tmp_path / "not" / "there"
    for _ in range(2):
        path, sha256 = fetch(source(server, digest), cache, QUICK)
        assert (path, path.read_bytes(), sha256) == (cache / "w-0123.pth", BODY, SHA256)
    assert (cache / "w-0123.pth.sha256").read_text() == f"{SHA256}  w-0123.pth\n"
    assert names(cache) == ["w-0123.pth", "w-0123.pth.sha256"]
    assert len(server.log) == 1


def test_what_its_publisher_does_not_give_out_is_refused(server, tmp_path):
    for digest in ("sha256:01234567", "md5:" + 32 * "0"):
        with pytest.raises(
            InputError, match=r"is not what its publisher gives out .* \(tries: 3\)"
        ):
            fetch(source(server, digest), tmp_path, QUICK)
    assert names(tmp_path) == []


def test_a_file_that_changed_after_its_download_is_refused(server, tmp_path):
    path, _ = fetch(source(server), tmp_path, QUICK)
    path.write_bytes(BODY[:-1] + b"?")
    with pytest.raises(InputError, match=f"{path} has changed since it was downloaded"):
        fetch(source(server), tmp_path, QUICK)
    path.unlink()
    assert fetch(source(server), tmp_path, QUICK)[1] == SHA256


def test_a_file_put_there_by_hand_is_checked_and_recorded(server, tmp_path):
    path = tmp_path / "w-0123.pth"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=f"{path} is not what its publisher gives out"):
        fetch(source(server), tmp_path, QUICK)
    path.write_bytes(BODY)
    assert fetch(source(server), tmp_path, QUICK) == (path, SHA256)
    assert names(tmp_path) == ["w-0123.pth", "w-0123.pth.sha256"] and not server.log


@pytest.mark.parametrize(
    "behaviour",
    [
        *(
            "status 500",
            "status 408",
            "slow_down 0",
            "back_soon 0",
            "web_page",
            "empty",
            "zipped",
            "nonsense",
        ),
        *(
            "truncated_with_length",
            "truncated_without_length",
            "dropped",
            "dropped_at_once",
            "chunked_truncated",
            "chunked_half",
        ),
        *(
            "redirect",
            "redirect_nowhere",
            "chunked",
            "slowly 0.1",
            "silent",
            "drip 600",
            "endless",
            "another_range",
        ),
    ],
)
def test_a_try_that_fails_is_made_good(server, tmp_path, behaviour):
    server.plan["/w-0123.pth"] = [behaviour]
    policy = QUICK._replace(max_bytes=1 << 20)
    assert fetch(source(server), tmp_path, policy) == (tmp_path / "w-0123.pth", SHA256)
    assert (tmp_path / "w-0123.pth").read_bytes() == BODY
    assert names(tmp_path) == ["w-0123.pth", "w-0123.pth.sha256"]
    tries = {"chunked": 1, "slowly 0.1": 1, "zipped": 1, "drip 600": 3}.get(
        behaviour, 2
    )  # drip: what it left is of no use
    assert len(server.log) == tries


@pytest.mark.parametrize("then", ["good", "without_range", "another_range"])
def test_a_download_that_was_cut_goes_on_where_it_stopped(server, tmp_path, then):
    server.plan["/w-0123.pth"] = ["truncated_with_length", then]
    assert fetch(source(server), tmp_path, QUICK)[1] == SHA256
    assert server.log[1][2]["Range"] == f"bytes={len(BODY) // 2}-"
    assert len(server.log) == (3 if then == "another_range" else 2)


def test_what_a_killed_process_has_left_is_used(server, tmp_path):
    part = tmp_path / "w-0123.pth.part"
    for left, requests in (
        (BODY, 0),
        (BODY[:1000], 1),
        (b"?" + BODY[1:1000], 2),
        (BODY + b"more", 2),
    ):
        server.log.clear()
        part.write_bytes(left)
        path, sha256 = fetch(source(server), tmp_path, QUICK)
        assert (sha256, len(server.log)) == (SHA256, requests)
        path.unlink()
        (tmp_path / "w-0123.pth.sha256").unlink()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_not_asked_again(server, tmp_path, status):
    server.plan["/w-0123.pth"] = [f"status {status}"]
    with pytest.raises(InputError) as caught:
        fetch(source(server), tmp_path, QUICK)
    text = str(caught.value)
    assert (
        f"status {status}" in text and f"put the file at {tmp_path / 'w-0123.pth'} by hand" in text
    )
    assert "\n" not in text and len(server.log) == 1


def test_a_host_that_is_away_is_named_after_the_last_try(server, tmp_path, capsys):
    away = Source("densenet_tiny", "http://127.0.0.1:9/w.pth", "sha256:0", "", *IMAGENET)
    with pytest.raises(
        InputError, match=r"127.0.0.1:9/w.pth cannot be fetched \(Connection refused\) \(tries: 3\)"
    ):
        fetch(away, tmp_path, QUICK)
    assert capsys.readouterr().out.count("trying again in") == 2


def test_a_second_process_waits_for_the_first(server, tmp_path, capsys):
    server.always = "slowly 1"
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(source(server), tmp_path, POLICY)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [(tmp_path / "w-0123.pth", SHA256)] * 3 and len(server.log) == 1
    # The first one may not have written yet which process it is.
    assert "w-0123.pth is being downloaded by " in capsys.readouterr().out


def test_a_download_goes_on_after_kill_9(server, tmp_path):
    server.plan["/w-0123.pth"] = ["slowly 60"]
    code = (
        "import sys; from pathlib import Path; from hpa_jax.pretrained.fetch import fetch; "
        "from hpa_jax.pretrained.sources import IMAGENET, Source; "
        "fetch(Source('n', sys.argv[1], sys.argv[2], '', *IMAGENET), Path(sys.argv[3]))"
    )
    wanted = source(server)
    process = subprocess.Popen(
        [sys.executable, "-c", code, wanted.url, wanted.digest, str(tmp_path)],
        cwd=Path(__file__).parents[2],
    )
    part, deadline = tmp_path / "w-0123.pth.part", time.monotonic() + 120
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = part.stat().st_size
    assert 0 < left < len(BODY)
    assert fetch(wanted, tmp_path, QUICK)[1] == SHA256
    assert server.log[1][2]["Range"] == f"bytes={left}-"


def test_where_the_cache_is(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HPA_CACHE", str(tmp_path / "mine"))
    assert fetch(source(server), None, QUICK)[0] == tmp_path / "mine" / "w-0123.pth"
    monkeypatch.delenv("HPA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "hpa_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "hpa_jax"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="HPA_CACHE names another folder"):
        fetch(source(server), tmp_path / "file" / "cache", QUICK)


def test_a_named_source_is_fetched_and_loaded(server, tmp_path, monkeypatch):
    drawn = init_variables(
        create_model("densenet_tiny", head="linear", num_labels=5), (64, 64, 3), seed=0
    )
    trained = init_variables(
        create_model("densenet_tiny", head="linear", num_labels=5), (64, 64, 3), seed=1
    )
    body = save(flatten_dict(trained, sep="/"))
    server.bodies["/w-0123.pth"] = body
    monkeypatch.setitem(
        SOURCES, "mine", source(server, f"sha256:{hashlib.sha256(body).hexdigest()[:8]}")
    )
    arguments = {"net": "densenet_tiny", "variables": drawn, "stem": "mean", "cache": tmp_path}
    loaded, what = pretrained.load_described("mine", **arguments)
    kernel = lambda tree: tree["params"]["backbone"]["stem_conv"]["kernel"]  # noqa: E731
    np.testing.assert_array_equal(kernel(loaded), kernel(trained))
    assert (
        what.sha256 == hashlib.sha256(body).hexdigest()
        and what.source == "mine"
        and what.mean == IMAGENET[0]
    )
    assert "mean 0.485 0.456 0.406 and std 0.229 0.224 0.225" in str(what)
    with pytest.raises(
        InputError,
        match="'mine' is of densenet_tiny, config.model.name='resnet50' is not; for this",
    ):
        pretrained.load_described("mine", **arguments | {"net": "resnet50"})


def test_load_pretrained_takes_a_model(tmp_path):
    trained = init_variables(
        create_model("densenet_tiny", head="linear", num_labels=5), (64, 64, 3), seed=1
    )
    path = tmp_path / "w.safetensors"
    path.write_bytes(save(flatten_dict(trained, sep="/")))
    model = create_model("densenet_tiny", head="pooled", num_labels=7)
    variables = pretrained.load_pretrained(model, str(path), channels=4, image_size=64, seed=2)
    drawn = init_variables(model, (64, 64, 4), seed=2)
    assert jax.tree.structure(variables) == jax.tree.structure(drawn)
    images = np.zeros((2, 64, 64, 4), np.float32)
    assert model.apply(variables, images, train=False).shape == (2, 7)

    stem = trained["params"]["backbone"]["stem_conv"]["kernel"]
    wide = variables["params"]["backbone"]["stem_conv"].pop("kernel")
    np.testing.assert_array_equal(wide, stem[:, :, [0, 1, 2, 0]])
    del trained["params"]["backbone"]["stem_conv"]["kernel"]
    jax.tree.map(
        np.testing.assert_array_equal,
        (variables["params"]["backbone"], variables["batch_stats"]["backbone"]),
        (trained["params"]["backbone"], trained["batch_stats"]["backbone"]),
    )
    jax.tree.map(
        np.testing.assert_array_equal, variables["params"]["head"], drawn["params"]["head"]
    )

    with pytest.raises(InputError, match="takes images of at least"):
        pretrained.load_pretrained(model, str(path), image_size=8)
    with pytest.raises(InputError, match="choose one of copy_red"):
        pretrained.load_pretrained(model, str(path), image_size=64, stem="new")


def test_digests_are_complete_or_those_of_torchvision_in_its_names():
    for name, published in SOURCES.items():
        kind, _, digits = published.digest.partition(":")
        if name.startswith("torchvision"):
            assert kind == "sha256" and re.fullmatch(
                rf"{published.net}-{digits}\.pth", published.file_name
            )
            assert published.licence == "BSD-3-Clause"
        elif name.startswith("timm"):
            assert kind == "sha256" and len(digits) == 64
            assert published.licence == "Apache-2.0"
        else:
            assert kind == "md5" and len(digits) == 32 == len(
                published.without_top.removeprefix("md5:")
            )
    assert len({published.file_name for published in SOURCES.values()}) == len(SOURCES)
