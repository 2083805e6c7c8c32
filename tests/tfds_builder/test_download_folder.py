"""The folder that a download fills: stopped, killed, resumed, refused; and wrong calls."""

import fcntl
import functools
import io
import re
import resource
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image
from support.atlas_downloads import (
    assert_complete,
    call,
    counts,
    ids,
    place,
    process,
    until,
    write_list,
)
from support.misbehaving_server import Server, claims, jpg

from hpa_jax.errors import RunStopped
from hpa_jax.folders.mark import MARK
from hpa_jax.http_fetch import Policy
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download import check
from tfds_builder.hpa.download import run as download_run
from tfds_builder.hpa.download.__main__ import main
from tfds_builder.hpa.files import csv_rows


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def listed(tmp_path):
    """`listed(3)`: the path of a csv with 3 images."""
    return functools.partial(write_list, tmp_path)


def damaged():
    data = bytearray(jpg("/"))
    at = data.index(b"\xff\xc4")  # the code tables
    data[at + 5 : at + 40] = bytes([255] * 35)
    return bytes(data)


@pytest.mark.parametrize(
    "data, reason",
    [
        (claims(60000, 60000), "claims 60000 x 60000 pixels"),
        (damaged(), "is damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100) + b"\xff\xd9", "is not a JPG but something else"),
        (b"\xef\xbb\xbf <html>\xff\xd9", "is not a JPG but a web page"),
        (b"\xff\xd8\xff\xd9", "header"),
        (jpg("/")[:-1], "no end marker"),
        (jpg("/")[:900] + b"\xff\xd9", "is damaged"),  # cut, and the end put back
    ],
)
def test_what_is_no_complete_jpg_is_refused(data, reason, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason in check.fault(data)
    # KiB: a claim of 10 GB is not believed.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    (tmp_path / "x.jpg").write_bytes(data)
    assert reason in check.fault_of_file(tmp_path / "x.jpg", decode=True)


def test_every_truncation_is_found():
    data = jpg("/")
    assert not check.fault(data) and not check.fault(data + b"\0\n")
    assert all(check.fault(data[:length]) for length in range(len(data)))


def test_killed_at_any_moment_it_resumes(server, listed, capsys):
    path = listed(10)
    to = path.parent / "to"
    server.delay = 0.02
    for seen in (3, 14, 25):
        run = process(call(server, path, "--workers=2"))
        until(lambda: len(server.log) >= seen)  # noqa: B023
        run.kill()
        run.communicate()
        for file in (to / "images").glob("*.jpg"):
            assert not check.fault(file.read_bytes())
        assert not (to / "labels.csv").exists()
    there = {file.name for file in (to / "images").glob("*.jpg")}
    assert 5 < len(there) < 40
    (to / "images/.100_00_A1_1_red.jpg.0123456789abcdef.part").write_bytes(
        b"half"
    )  # as of a kill within the write
    (to / ".labels.csv.123.part").write_bytes(b"half")
    server.settle()
    server.log.clear()
    server.delay = 0
    assert main(call(server, path)) == 0
    assert counts(capsys.readouterr().out) == (40, len(there), 40 - len(there), 0)
    missing = {
        place(id, channel)
        for id in ids(path)
        for channel in CHANNELS
        if f"{id}_{channel}.jpg" not in there
    }
    assert set(server.asked()) == missing and len(server.log) == len(missing)
    assert_complete(to, ids(path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_soon(server, listed, number):
    path = listed(10)
    for id in ids(path)[3:]:
        server.plan[place(id, "red")] = ["drip"] * 9
        server.plan[place(id, "green")] = ["slow_down 60"] * 9
    run = process([*call(server, path), "--timeout=60"])
    until(lambda: len(server.log) >= 13)
    run.send_signal(number)
    # Sooner than the pauses and transfers under way would end.
    out, err = run.communicate(timeout=55)
    assert run.returncode == 75
    assert (
        out == ""
        and err.count("\n") == 1
        and err.startswith("stopped: ")
        and "start the same command again" in err
    )
    asked, there, fetched, failed = counts(err)
    to = path.parent / "to"
    assert (asked, there, failed) == (40, 0, 0) and 0 < fetched == len(
        list((to / "images").iterdir())
    ) < 40
    assert {file.name for file in to.iterdir()} == {MARK, "images"}


def test_a_second_download_of_the_folder_is_refused(server, listed, capsys):
    path = listed(1)
    to = path.parent / "to"
    to.mkdir()
    with open(to / ".download.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(call(server, path)) == 2
    assert "is being filled by another process; wait" in capsys.readouterr().err and not server.log
    assert main(call(server, path)) == 0


def test_files_that_are_not_complete_are_fetched_again(server, listed, capsys):
    path = listed(2)
    images = path.parent / "to/images"
    assert main(call(server, path)) == 0
    server.log.clear()
    (images / "100_00_A1_1_red.jpg").write_bytes(b"")
    (images / "100_00_A1_1_blue.jpg").write_bytes(jpg("/")[:300])
    (images / "100_01_A1_1_red.jpg").write_bytes(b"<html></html>")
    sound = jpg(place("100_01_A1_1", "green"))
    (images / "100_01_A1_1_green.jpg").write_bytes(sound[:-900] + bytes(880) + sound[-20:])
    (images / "100_01_A1_1_blue.jpg").write_bytes(damaged())
    capsys.readouterr()
    assert main(call(server, path)) == 0
    # Damage between sound ends takes --verify.
    assert counts(capsys.readouterr().out) == (8, 5, 3, 0)
    assert main(call(server, path, "--verify")) == 0
    assert counts(capsys.readouterr().out) == (8, 6, 2, 0)
    assert_complete(path.parent / "to", ids(path))
    server.always = "status 404"
    (images / "100_00_A1_1_red.jpg").write_bytes(b"half")
    assert main(call(server, path)) == 1
    assert not (images / "100_00_A1_1_red.jpg").exists()  # only complete files have a name


def test_channels_and_limit(server, listed, capsys):
    path = listed(5)
    assert main(call(server, path, "--channels=green,blue,green", "--limit=3")) == 0
    assert counts(capsys.readouterr().out) == (6, 0, 6, 0)
    assert_complete(path.parent / "to", ids(path)[:3], ("green", "blue"))
    assert ids(path.parent / "to/labels.csv") == ids(path)[:3]


def test_a_full_disk_is_one_line(server, listed):
    path = listed(3)
    noisy = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)).save(
        noisy, "JPEG"
    )
    server.bodies[place("100_01_A1_1", "blue")] = noisy.getvalue()
    limit = len(noisy.getvalue()) - 1  # the system refuses to write more, as of a disk that is full
    run = process(
        call(server, path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    out, err = run.communicate(timeout=120)
    assert run.returncode == 2 and out == "" and err.count("\n") == 1, err
    file = path.parent / "to" / "images" / "100_01_A1_1_blue.jpg"
    assert err.startswith(f"error: cannot write to {file}: File too large; ")
    assert (
        not list((path.parent / "to").rglob("*.part"))
        and not (path.parent / "to/labels.csv").exists()
    )


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--workers=0"], "--workers=0 is out of range"),
        (["--rate=0"], "--rate=0 is out of range"),
        (["--rate=nan"], "--rate=nan is out of range"),
        (["--retries=-1"], "--retries=-1 is out of range"),
        (["--timeout=0"], "--timeout=0 is out of range"),
        (["--limit=0"], "--limit=0 is out of range"),
        (["--channels=red,purple"], "'purple'"),
        (["--channels="], "''"),
        (["--url=ftp://host/{id}_{channel}.jpg"], "is no address of each file"),
        (["--url=http://host/{id}.jpg"], "is no address of each file"),
        (["--csv=/nowhere.csv"], "cannot be read"),
        (["--speed=1"], "unrecognized arguments"),
        (["--to=/dev/null/x"], "Not a directory"),
    ],
)
def test_wrong_calls(server, listed, capsys, flags, says):
    assert main(call(server, listed(1), *flags)) == 2
    out, err = capsys.readouterr()
    assert (
        out == ""
        and err.startswith("error: ")
        and err.count("\n") == 1
        and says in err
        and "; " in err
    ), err
    assert not server.log


@pytest.mark.parametrize(
    "text, says",
    [
        ("Id,Target\n000a9596-bbc4,5\n", "is not <antibody number>_<rest>"),
        ("Id,Target\n1_A,5\n1_../../x,5\n", "line 3"),
        ("Id,Target\n1_A,99\n", "unknown label"),
        ("Name,Label\n1_A,5\n", "has no columns Id and Target"),
        ("", "has no columns Id and Target"),
    ],
)
def test_bad_lists(server, tmp_path, capsys, text, says):
    (tmp_path / "list.csv").write_text(text)
    assert main(call(server, tmp_path / "list.csv")) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and says in err, err
    assert not server.log and not (tmp_path / "to").exists()


def test_its_own_labels_are_no_list(server, listed, capsys):
    path = listed(1)
    assert main(call(server, path)) == 0
    labels = path.parent / "to/labels.csv"
    assert main([*call(server, path), f"--csv={labels}"]) == 2
    assert "is the file that a download writes" in capsys.readouterr().err and labels.exists()


def test_a_line_a_minute_where_there_is_no_terminal(server, listed, capsys, monkeypatch):
    monkeypatch.setattr(download_run, "LOG_EVERY", 0.4)
    server.delay = 0.05
    start = time.monotonic()
    assert main(call(server, listed(5), "--workers=1")) == 0
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= (time.monotonic() - start) / 0.4
    assert all(
        re.fullmatch(r"\d+ of 20 files, 0 failed; [\d.]+ files/s, [\d.]+ MB/s", line)
        for line in lines
    )


def test_a_long_list_costs_no_memory(server, tmp_path):
    """Nothing is made ahead: only the files that were asked for have been listed at a stop."""
    made = []
    stop = threading.Event()

    class Rows(list):
        def __len__(self):
            return 10**6

        def __iter__(self):
            for number in range(10**6):
                made.append(number)
                yield csv_rows.Row(f"1_{number}", (0,), "")

    server.always = "status 403"
    with pytest.raises(RunStopped):
        download_run.download(
            Rows(),
            tmp_path / "to",
            url=server.url,
            rate=float("inf"),
            policy=Policy(0, 0, 1),
            stop=stop,
        )
    assert len(made) < 20


@pytest.mark.parametrize(
    "name",
    [
        "film.mkv.part",
        "labels.csv",
        "missing.csv",
        "images/cat_red.jpg",
        "images/100_00_A1_1_red.jpg.bak",
        "notes.txt",
        ".hpa_jax.json",
    ],
)
def test_into_a_folder_of_somebody_else_nothing_is_written(server, tmp_path, capsys, name):
    path = write_list(tmp_path, 1)
    to = tmp_path / "to"
    (to / name).parent.mkdir(parents=True)
    (to / name).write_text("mine")
    # Of our pattern, and all the same none of ours.
    (to / ".film.0123456789abcdef.part").write_text("mine")
    assert main(call(server, path)) == 2
    message = capsys.readouterr().err
    assert f"{to / name} was not written by a download; choose an empty folder" in message
    assert not server.log
    found = {str(file.relative_to(to)) for file in to.rglob("*") if file.is_file()}
    assert found == {name, ".film.0123456789abcdef.part"}


def test_the_folder_of_an_older_version_is_known_by_what_it_holds(server, tmp_path, capsys):
    path = write_list(tmp_path, 2)
    assert main(call(server, path)) == 0
    to = tmp_path / "to"
    (to / MARK).unlink()
    (to / "images" / ".100_00_A1_1_red.jpg.123.part").write_bytes(b"half")
    capsys.readouterr()
    assert main(call(server, path)) == 0
    assert counts(capsys.readouterr().out) == (8, 8, 0, 0)
    assert_complete(to, ids(path))
