"""The downloader against a web server that misbehaves: complete files, or a reason why not."""

import csv
import functools
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.atlas_downloads import (
    QUICK,
    ROOT,
    assert_complete,
    call,
    counts,
    ids,
    place,
    write_list,
)
from support.misbehaving_server import Server

from hpa_jax.http_fetch import outcome
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download import __main__ as download_main
from tfds_builder.hpa.download.__main__ import main
from tfds_builder.hpa.files import layouts


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def listed(tmp_path):
    """`listed(3)`: the path of a csv with 3 images."""
    return functools.partial(write_list, tmp_path)


def test_fetches_all_channels_over_kept_connections(server, listed, capsys):
    path = listed(12)
    to = path.parent / "to"
    assert main(call(server, path, "--workers=3")) == 0
    assert counts(capsys.readouterr().out) == (48, 0, 48, 0)
    assert_complete(to, ids(path))
    labels = list(csv.reader((to / "labels.csv").open()))
    assert (
        labels[0] == ["Id", "Target"]
        and dict(labels)["100_02_A1_1"] == "2 25"
        and len(labels) == 13
    )
    assert not (to / "missing.csv").exists()
    assert server.connections == 3
    agents = {headers["User-Agent"] for _, _, headers in server.log}
    assert len(agents) == 1 and agents.pop().startswith("hpa_jax/")

    assert main(call(server, path)) == 0  # again: nothing is asked for
    assert counts(capsys.readouterr().out) == (48, 48, 0, 0)
    assert len(server.log) == 48


TRANSIENT = (
    "status 500",
    "status 502",
    "status 503",
    "status 408",
    "status 429",
    "slow_down 0",
    "slow_down soon",
    "back_soon 0",
    "back_soon -1",
    "web_page",
    "empty",
    "empty_without_length",
    "truncated_with_length",
    "truncated_without_length",
    "wrong_length",
    "chunked_truncated",
    "chunked_half",
    "dropped",
    "dropped_at_once",
    "nonsense",
    "redirect_nowhere",
    "another_range",
)
SOUND = ("good", "chunked", "zipped", "redirect", "slowly 0.3")


def test_transient_failures_are_retried(server, listed, capsys):
    path = listed(len(TRANSIENT) // 2 + 1)
    places = [place(id, channel) for id in ids(path) for channel in CHANNELS]
    for place_, behaviour in zip(places, itertools.cycle((*TRANSIENT, *SOUND))):
        server.plan[place_] = [behaviour]
    for number, place_ in enumerate(places):  # and two different ones in a row
        server.plan[place_].append(TRANSIENT[number * 5 % len(TRANSIENT)])
    assert main(call(server, path)) == 0
    assert counts(capsys.readouterr().out) == (len(places), 0, len(places), 0)
    assert_complete(path.parent / "to", ids(path))


# Behaviour: (what missing.csv says of it, how often it is asked for).
FINAL = {
    "status 404": ("does not exist there (status 404 Not Found)", 1),
    "status 410": ("does not exist there (status 410 Gone)", 1),
    "escape_codes": ("does not exist there (status 404 Not?[31m \xff Found)", 1),
    "status 403": ("is refused (status 403 Forbidden)", 1),
    "redirect_in_circles": ("is redirected more than 5 times", 6),
    "status 500": ("status 500 Internal Server Error (tries: 3)", 3),
    "slow_down 0": ("status 429 Too Many Requests (tries: 3)", 3),
    "web_page": ("is not a JPG but a web page or other text (tries: 3)", 3),
    "empty": ("is empty (0 bytes) (tries: 3)", 3),
    "truncated_with_length": ("is cut short: the connection ended within it (tries: 3)", 3),
    "truncated_without_length": ("is cut short: it has no end marker (tries: 3)", 3),
    "chunked_truncated": ("is cut short: the connection ended within it (tries: 3)", 3),
    "chunked_half": ("is cut short: it has no end marker (tries: 3)", 3),
    "dropped": ("cannot be fetched (Connection reset by peer) (tries: 3)", 3),
    "dropped_at_once": ("cannot be fetched (Connection reset by peer) (tries: 3)", 3),
    "nonsense": ("what?", 3),
    "redirect_nowhere": ("", 3),
    "silent": ("is not complete after 1.5 s (tries: 3)", 3),
    "drip": ("is not complete after 1.5 s (tries: 3)", 3),
    "drip_headers": ("is not complete after 1.5 s (tries: 3)", 3),
    "endless": ("has more than 1 MB", 1),
}


def test_lasting_failures_are_listed_and_the_rest_is_there(server, listed, capsys, monkeypatch):
    monkeypatch.setattr(download_main, "MAX_BYTES", 1 << 20)
    path = listed(len(FINAL) + 2)
    to = path.parent / "to"
    wanted = ids(path)
    bad = {place(id, "green"): behaviour for id, behaviour in zip(wanted, FINAL, strict=False)}
    for place_, behaviour in bad.items():
        server.plan[place_] = [behaviour] * FINAL[behaviour][1]
    assert main(call(server, path, "--retries=2", "--timeout=1.5", "--workers=20")) == 1
    out, err = capsys.readouterr()
    assert counts(out) == (4 * len(wanted), 0, 4 * len(wanted) - len(FINAL), len(FINAL))
    assert (
        err.count("\n") == 1
        and str(to / "missing.csv") in err
        and "3 do not exist at the host" in err
    )
    missing = {
        (row["id"], row["file"]): row["reason"]
        for row in csv.DictReader((to / "missing.csv").open())
    }
    assert set(missing) == {(id, f"images/{id}_green.jpg") for id in wanted[: len(FINAL)]}
    for id, (behaviour, (reason, tries)) in zip(wanted, FINAL.items(), strict=False):
        text = missing[id, f"images/{id}_green.jpg"]
        assert reason in text and text.startswith(
            f"http://127.0.0.1:{server.server_port}{place(id, 'green')} "
        ), text
        # On a busy machine a try may be over before it arrives.
        asked = server.asked()[place(id, "green")]
        assert min(tries, 2) <= asked <= tries, behaviour
    assert ids(to / "labels.csv") == sorted(wanted[len(FINAL) :])  # complete images alone
    assert len(list((to / "images").iterdir())) == 4 * len(wanted) - len(FINAL)

    server.plan.clear()  # the host is well again: the same command brings the rest
    assert main(call(server, path)) == 0
    assert counts(capsys.readouterr().out) == (
        4 * len(wanted),
        4 * len(wanted) - len(FINAL),
        len(FINAL),
        0,
    )
    assert_complete(to, wanted)
    assert not (to / "missing.csv").exists() and ids(to / "labels.csv") == sorted(wanted)


def test_real_images(server, tmp_path, capsys):
    if not (sample := os.environ.get("HPA_SAMPLE_DIR")):
        pytest.skip("HPA_SAMPLE_DIR is not set")
    source = Path(sample) / "hpav18_jpg"
    for file in (source / "images").iterdir():
        id, _, channel = file.stem.rpartition("_")
        server.bodies[place(id, channel)] = file.read_bytes()
    to = tmp_path / "to"
    calls = [f"--csv={source / 'labels.csv'}", f"--to={to}", f"--url={server.url}", *QUICK]
    assert main(calls) == 0
    for file in (source / "images").iterdir():
        assert (to / "images" / file.name).read_bytes() == file.read_bytes()
    assert ids(to / "labels.csv") == sorted(ids(source / "labels.csv"))
    listing = layouts.hpav18(to).examples()  # what the builder reads
    assert not listing.faults
    assert [example.id for example in listing.examples] == sorted(ids(source / "labels.csv"))


def test_rate_holds_over_all_workers(server, listed):
    path = listed(5)
    server.plan[place("100_00_A1_1", "red")] = ["status 503"] * 3  # retries count too
    start = time.monotonic()
    assert main([*call(server, path, "--workers=8"), "--rate=20"]) == 0
    times = sorted(at for at, _, _ in server.log)
    assert len(times) == 23
    # None comes before its turn; a busy machine may bring them later.
    for number, at in enumerate(times):
        assert at - start >= number / 20 - 0.01


@pytest.mark.parametrize(
    "behaviour, least", [("slow_down 1", 1.0), ("back_soon 1", 1.0), ("back_at 2", 0.9)]
)
def test_retry_after_holds_back_all_workers(server, listed, behaviour, least):
    path = listed(8)
    server.delay = 0.05
    server.plan[place("100_01_A1_1", "blue")] = [behaviour]
    assert main(call(server, path, "--workers=4")) == 0
    asked = [at for at, path, _ in server.log if path == place("100_01_A1_1", "blue")]
    assert len(asked) == 2 and asked[1] - asked[0] >= least
    # The others would have been done in half of that time.
    later = [at for at, _, _ in server.log if at >= asked[0] + least]
    assert len(later) > 1


def test_retry_after_is_capped(server, listed, monkeypatch):
    monkeypatch.setattr(outcome, "MAX_PAUSE", 0.2)
    path = listed(1)
    server.plan[place("100_00_A1_1", "red")] = [
        "slow_down 86400",
        "back_at 86400",
        "slow_down 99999999999999999999",
    ]
    start = time.monotonic()
    assert main(call(server, path)) == 0
    assert 0.5 < time.monotonic() - start < 120


def test_backoff_doubles(server, listed):
    path = listed(1)
    server.plan[place("100_00_A1_1", "red")] = ["status 500"] * 4
    assert main([*call(server, path), "--backoff=0.1"]) == 0
    asked = [at for at, path, _ in server.log if path == place("100_00_A1_1", "red")]
    for number, (first, later) in enumerate(itertools.pairwise(asked)):
        assert later - first >= 0.5 * 0.1 * 2**number


def test_a_host_that_comes_up_late(listed):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path, later = listed(2), Server.__new__(Server)
    timer = threading.Timer(0.5, lambda: (later.__init__(port), later.__enter__()))
    timer.start()
    url = f"--url=http://127.0.0.1:{port}/{{antibody}}/{{rest}}_{{channel}}.jpg"
    try:
        assert (
            main(
                [f"--csv={path}", f"--to={path.parent / 'to'}", url, "--rate=inf", "--backoff=0.1"]
            )
            == 0
        )
    finally:
        timer.join()
        later.__exit__()
    assert_complete(path.parent / "to", ids(path))


def test_a_host_that_is_away_stops_it(listed, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = listed(100)
    url = f"--url=http://127.0.0.1:{port}/{{antibody}}/{{rest}}_{{channel}}.jpg"
    assert main([f"--csv={path}", f"--to={path.parent / 'to'}", url, *QUICK, "--retries=2"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "20 files in a row could not be fetched" in err and "Connection refused" in err
    assert counts(err) == (400, 0, 0, 20) and "380 not tried yet" in err
    assert not (path.parent / "to/labels.csv").exists()  # nothing that looks finished
    assert len(ids_missing := (path.parent / "to/missing.csv").read_text().splitlines()) == 21, (
        ids_missing
    )


def test_a_host_that_refuses_or_serves_pages_stops_it(server, listed, capsys):
    for server.always in ("status 403", "web_page"):
        assert main(call(server, listed(50), "--retries=0")) == 1
        assert "20 files in a row" in capsys.readouterr().err


def test_an_address_that_knows_no_file_stops_it(server, listed, capsys):
    server.always = "status 404"
    assert main(call(server, listed(120))) == 1
    err = capsys.readouterr().err
    assert "none of the first 400 files exists" in err and "--url" in err
    assert len(server.log) < 450


def test_many_missing_files_do_not_stop_it(server, listed, capsys):
    path = listed(125)
    for id in ids(path)[1:121]:
        for channel in CHANNELS:
            server.plan[place(id, channel)] = ["status 404"]
    assert main(call(server, path)) == 1
    assert counts(capsys.readouterr().out) == (500, 0, 20, 480)


def test_no_tensorflow():
    code = (
        "import sys, tfds_builder.hpa.download.__main__; "
        "sys.exit(bool({'tensorflow', 'jax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
