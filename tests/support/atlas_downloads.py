"""Calls of the Atlas downloader against `misbehaving_server`, and what they leave behind."""

import csv
import re
import subprocess
import sys
import time
from pathlib import Path

from support.misbehaving_server import jpg

from hpa_jax.folders.mark import MARK
from hpa_jax.labels import CHANNELS

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--rate=inf", "--backoff=0.02", "--timeout=1.5")


def write_list(folder, images):
    """Writes `folder/list.csv` with so many images and returns its path."""
    lines = ["Id,Target"]
    for number in range(images):
        lines.append(f"{100 + number // 3}_{number:02}_A1_1,{number % 25} 25")
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def ids(path):
    """The Ids of a csv, in its order."""
    with open(path, newline="", encoding="utf-8") as file:
        return [row["Id"] for row in csv.DictReader(file)]


def place(id, channel):
    """The path of a file at the server."""
    antibody, _, rest = id.partition("_")
    return f"/{antibody}/{rest}_{channel}.jpg"


def call(server, path, *flags):
    """Arguments that download the list at `path` into the folder `to` beside it."""
    to = path.parent / "to"
    return [f"--csv={path}", f"--to={to}", f"--url={server.url}", *QUICK, *flags]


def counts(text):
    """The numbers in the line of counts: asked, there, fetched, failed."""
    found = re.search(
        r"(\d+) files asked for: (\d+) there already, (\d+) fetched \([\d.]+ MB\), (\d+) failed",
        text,
    )
    return tuple(map(int, found.groups()))


def assert_complete(to, wanted, channels=CHANNELS):
    """The folder holds these Ids' files, byte for byte, and nothing that is left of a download."""
    places = {f"{id}_{channel}.jpg": place(id, channel) for id in wanted for channel in channels}
    assert {path.name for path in (to / "images").iterdir()} == set(places)
    for name, path in places.items():
        assert (to / "images" / name).read_bytes() == jpg(path)
    assert {path.name for path in to.iterdir()} <= {MARK, "images", "labels.csv", "missing.csv"}


def process(arguments, **kwargs):
    """The downloader in a process of its own."""
    command = [sys.executable, "-m", "tfds_builder.hpa.download.__main__", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs
    )


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
