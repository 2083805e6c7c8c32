"""The downloader against a web server that misbehaves: whole files, or a line that says why not; counts add up."""

import csv
import fcntl
import io
import itertools
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.misbehaving_server import Server, claims, jpg

from hpa_jax import http_fetch
from hpa_jax.errors import RunStopped
from hpa_jax.http_fetch import Policy, RateLimiter
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download import __main__ as download_main
from tfds_builder.hpa.download import check
from tfds_builder.hpa.download import run as download_run
from tfds_builder.hpa.download.__main__ import main
from tfds_builder.hpa.files import csv_table, layouts

ROOT = Path(__file__).parents[2]
QUICK = ("--rate=inf", "--backoff=0.02", "--timeout=1.5")


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def listed(tmp_path):
    """Writes a csv of so many fields."""

    def listed(fields):
        path = tmp_path / "list.csv"
        path.write_text(
            "Id,Target\n"
            + "".join(f"{100 + i // 3}_{i:02}_A1_1,{i % 25} 25\n" for i in range(fields))
        )
        return path

    return listed


def ids(path):
    return [row["Id"] for row in csv.DictReader(path.open())]


def place(id, channel):
    antibody, _, rest = id.partition("_")
    return f"/{antibody}/{rest}_{channel}.jpg"


def call(server, csv, *flags):
    return [f"--csv={csv}", f"--to={csv.parent / 'to'}", f"--url={server.url}", *QUICK, *flags]


def counts(text):
    """What the line of counts says: asked, there, fetched, failed."""
    found = re.search(
        r"(\d+) files asked for: (\d+) there already, (\d+) fetched \([\d.]+ MB\), (\d+) failed",
        text,
    )
    return tuple(map(int, found.groups()))


def assert_whole(to, wanted, channels=CHANNELS):
    """The folder holds these Ids' files, byte for byte, and nothing that a download left on its way."""
    names = {f"{id}_{channel}.jpg": place(id, channel) for id in wanted for channel in channels}
    assert {path.name for path in (to / "images").iterdir()} == set(names)
    for name, path in names.items():
        assert (to / "images" / name).read_bytes() == jpg(path)
    assert {path.name for path in to.iterdir()} <= {"images", "labels.csv", "missing.csv"}


def process(arguments, **kwargs):
    command = [sys.executable, "-m", "tfds_builder.hpa.download.__main__", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs
    )


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_fetches_all_channels_over_kept_connections(server, listed, capsys):
    path = listed(12)
    to = path.parent / "to"
    assert main(call(server, path, "--workers=3")) == 0
    assert counts(capsys.readouterr().out) == (48, 0, 48, 0)
    assert_whole(to, ids(path))
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


PASSING = (
    *(
        "status 500",
        "status 502",
        "status 503",
        "status 408",
        "status 429",
        "slow_down 0",
        "slow_down soon",
    ),
    *(
        "back_soon 0",
        "back_soon -1",
        "web_page",
        "empty",
        "empty_without_length",
        "cut_with_length",
    ),
    *(
        "cut_without_length",
        "wrong_length",
        "chunked_cut",
        "chunked_half",
        "dropped",
        "dropped_at_once",
        "nonsense",
    ),
    *("redirect_nowhere",),
)
SOUND = ("good", "chunked", "zipped", "redirect", "slowly 0.3")


def test_what_passes_is_tried_again(server, listed, capsys):
    path = listed(len(PASSING) // 2 + 1)
    places = [place(id, channel) for id in ids(path) for channel in CHANNELS]
    for place_, behaviour in zip(places, itertools.cycle((*PASSING, *SOUND))):
        server.plan[place_] = [behaviour]
    for number, place_ in enumerate(places):  # and two different ones in a row
        server.plan[place_].append(PASSING[number * 5 % len(PASSING)])
    assert main(call(server, path)) == 0
    assert counts(capsys.readouterr().out) == (len(places), 0, len(places), 0)
    assert_whole(path.parent / "to", ids(path))


FINAL = {  # behaviour: (what missing.csv says of it, how often it is asked for)
    "status 404": ("does not exist there (status 404 Not Found)", 1),
    "status 410": ("does not exist there (status 410 Gone)", 1),
    "painted": ("does not exist there (status 404 Not?[31m \xff Found)", 1),
    "status 403": ("is refused (status 403 Forbidden)", 1),
    "redirect_in_circles": ("is redirected more than 5 times", 6),
    "status 500": ("status 500 Internal Server Error (tries: 3)", 3),
    "slow_down 0": ("status 429 Too Many Requests (tries: 3)", 3),
    "web_page": ("is not a JPG but a web page or other text (tries: 3)", 3),
    "empty": ("is empty (0 bytes) (tries: 3)", 3),
    "cut_with_length": ("is cut short: the connection ended within it (tries: 3)", 3),
    "cut_without_length": ("is cut short: it has no end marker (tries: 3)", 3),
    "chunked_cut": ("is cut short: the connection ended within it (tries: 3)", 3),
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


def test_what_does_not_pass_is_listed_and_the_rest_is_there(server, listed, capsys, monkeypatch):
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
        asked = server.asked()[
            place(id, "green")
        ]  # on a busy machine a try may be over before it arrives
        assert min(tries, 2) <= asked <= tries, behaviour
    assert ids(to / "labels.csv") == sorted(wanted[len(FINAL) :])  # whole fields alone
    assert len(list((to / "images").iterdir())) == 4 * len(wanted) - len(FINAL)

    server.plan.clear()  # the host is well again: the same command brings the rest
    assert main(call(server, path)) == 0
    assert counts(capsys.readouterr().out) == (
        4 * len(wanted),
        4 * len(wanted) - len(FINAL),
        len(FINAL),
        0,
    )
    assert_whole(to, wanted)
    assert not (to / "missing.csv").exists() and ids(to / "labels.csv") == sorted(wanted)


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
def test_what_is_no_whole_jpeg_is_refused(data, reason, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason in check.fault(data)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    )  # KiB: a claim of 10 GB is not believed
    (tmp_path / "x.jpg").write_bytes(data)
    assert reason in check.fault_of_file(tmp_path / "x.jpg", decode=True)


def test_every_cut_is_told():
    data = jpg("/")
    assert not check.fault(data) and not check.fault(data + b"\0\n")
    assert all(check.fault(data[:length]) for length in range(len(data)))


def test_real_fields(server, tmp_path, capsys):
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
    listing = layouts.hpav18(to).fields()  # what the builder makes of it
    assert not listing.faults and [field.id for field in listing.fields] == sorted(
        ids(source / "labels.csv")
    )


def test_rate_holds_over_all_workers(server, listed):
    path = listed(5)
    server.plan[place("100_00_A1_1", "red")] = ["status 503"] * 3  # retries count too
    assert main([*call(server, path, "--workers=8"), "--rate=20"]) == 0
    times = sorted(at for at, _, _ in server.log)
    assert len(times) == 23
    assert times[-1] - times[0] >= 22 / 20 - 0.1
    for first, later in zip(times, times[10:], strict=False):
        assert later - first >= 10 / 20 - 0.2  # as the server sees it


@pytest.mark.parametrize(
    "behaviour, least", [("slow_down 1", 1.0), ("back_soon 1", 1.0), ("back_at 2", 0.9)]
)
def test_retry_after_holds_back_all_workers(server, listed, behaviour, least):
    path = listed(8)
    server.delay = 0.01
    server.plan[place("100_01_A1_1", "blue")] = [behaviour]
    assert main(call(server, path, "--workers=4")) == 0
    asked = [at for at, path, _ in server.log if path == place("100_01_A1_1", "blue")]
    assert len(asked) == 2 and asked[1] - asked[0] >= least
    times = [at for at, _, _ in server.log]
    pause = max(later - first for first, later in itertools.pairwise(times))
    assert pause >= least - 0.3  # nobody asked meanwhile


def test_retry_after_is_capped(server, listed, monkeypatch):
    monkeypatch.setattr(http_fetch, "MAX_PAUSE", 0.2)
    path = listed(1)
    server.plan[place("100_00_A1_1", "red")] = [
        "slow_down 86400",
        "back_at 86400",
        "slow_down 99999999999999999999",
    ]
    start = time.monotonic()
    assert main(call(server, path)) == 0
    assert 0.5 < time.monotonic() - start < 10


def test_backoff_doubles(server, listed):
    path = listed(1)
    server.plan[place("100_00_A1_1", "red")] = ["status 500"] * 4
    assert main([*call(server, path), "--backoff=0.1"]) == 0
    asked = [at for at, path, _ in server.log if path == place("100_00_A1_1", "red")]
    for number, (first, later) in enumerate(itertools.pairwise(asked)):
        assert 0.5 * 0.1 * 2**number <= later - first <= 1.5 * 0.1 * 2**number + 0.5


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
    assert_whole(path.parent / "to", ids(path))


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


def test_killed_at_any_moment_it_goes_on(server, listed, capsys):
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
    (to / "images/100_00_A1_1_red.jpg.part").write_bytes(b"half")  # as of a kill within the write
    (to / "labels.csv.part").write_bytes(b"half")
    time.sleep(0.1)
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
    assert_whole(to, ids(path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_soon(server, listed, number):
    path = listed(10)
    for id in ids(path)[3:]:
        server.plan[place(id, "red")] = ["drip"] * 9
        server.plan[place(id, "green")] = ["slow_down 60"] * 9
    run = process([*call(server, path), "--timeout=60"])
    until(lambda: len(server.log) >= 13)
    time.sleep(0.2)
    start = time.monotonic()
    run.send_signal(number)
    out, err = run.communicate(timeout=10)
    assert run.returncode == 75 and time.monotonic() - start < 5
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
    assert {file.name for file in to.iterdir()} == {"images"}


def test_a_second_download_of_the_folder_is_refused(server, listed, capsys):
    path = listed(1)
    to = path.parent / "to"
    to.mkdir()
    with open(to / ".download.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(call(server, path)) == 2
    assert "is being filled by another process; wait" in capsys.readouterr().err and not server.log
    assert main(call(server, path)) == 0


def test_files_that_are_not_whole_are_fetched_again(server, listed, capsys):
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
    assert counts(capsys.readouterr().out) == (
        8,
        5,
        3,
        0,
    )  # damage between sound ends takes --verify
    assert main(call(server, path, "--verify")) == 0
    assert counts(capsys.readouterr().out) == (8, 6, 2, 0)
    assert_whole(path.parent / "to", ids(path))
    server.always = "status 404"
    (images / "100_00_A1_1_red.jpg").write_bytes(b"half")
    assert main(call(server, path)) == 1
    assert not (images / "100_00_A1_1_red.jpg").exists()  # a name is a whole file's alone


def test_channels_and_limit(server, listed, capsys):
    path = listed(5)
    assert main(call(server, path, "--channels=green,blue,green", "--limit=3")) == 0
    assert counts(capsys.readouterr().out) == (6, 0, 6, 0)
    assert_whole(path.parent / "to", ids(path)[:3], ("green", "blue"))
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
    out, err = run.communicate(timeout=20)
    assert run.returncode == 2 and out == "" and err.count("\n") == 1, err
    assert err.startswith(f"error: cannot write to {path.parent / 'to'}: File too large; ")
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
    assert main(call(server, listed(5), "--workers=1")) == 0
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 4
    assert all(
        re.fullmatch(r"\d+ of 20 files, 0 failed; [\d.]+ files/s, [\d.]+ MB/s", line)
        for line in lines
    )


def test_a_long_list_costs_no_memory(server, tmp_path):
    """Nothing is made ahead: after a stop, only the files that were asked for have been thought of."""
    made = []
    stop = threading.Event()

    class Rows(list):
        def __len__(self):
            return 10**6

        def __iter__(self):
            for number in range(10**6):
                made.append(number)
                yield csv_table.Row(f"1_{number}", (0,), "")

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


def test_requests_after_a_pause_do_not_come_all_at_once():
    limiter = RateLimiter(50, threading.Event())
    limiter.pause(0.2)
    times = []
    threads = [
        threading.Thread(target=lambda: (limiter.acquire(), times.append(time.monotonic())))
        for _ in range(6)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    limiter.pause(0.3)  # asked while they wait
    for thread in threads:
        thread.join()
    assert min(times) - start >= 0.29 and max(times) - start >= 0.29 + 5 / 50


def test_no_tensorflow():
    code = "import sys, tfds_builder.hpa.download.__main__; sys.exit(bool({'tensorflow', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
