"""The commands and the program of docs/server.md, run as they stand there."""

import io
import json
import re
import shlex
import subprocess
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.http_server import REPOSITORY

from hpa_jax.labels import CHANNELS
from hpa_jax.serving.server import command
from hpa_jax.serving.server.limits import MIB, Limits

PAGE = (REPOSITORY / "docs" / "server.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def lines_of_shell(start: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(start)]


@pytest.fixture(scope="module")
def files(field, tmp_path_factory):
    """The files that the page names."""
    folder = tmp_path_factory.mktemp("files")
    with zipfile.ZipFile(folder / "plate.zip", "w") as archive:
        for channel, data in field.items():
            (folder / f"a_{channel}.png").write_bytes(data)
            archive.writestr(f"a_{channel}.png", data)
    planes = [np.asarray(Image.open(io.BytesIO(field[channel]))) for channel in CHANNELS]
    tifffile.imwrite(folder / "a.tif", np.stack(planes), photometric="minisblack")
    return folder


def test_curl_gets_the_same_scores_in_each_way(server, files):
    commands = [line for line in lines_of_shell("curl") if "images.example.org" not in line]
    assert len(commands) == 4
    scores = []
    for line in commands:
        words = shlex.split(line.replace(ADDRESS, server.url))
        done = subprocess.run([*words, "--silent"], cwd=files, capture_output=True, check=True)
        answer = json.loads(done.stdout)
        assert list(answer) == ["images"], (line, answer)
        scores.append([label["probability"] for label in answer["images"][0]["labels"]])
    assert scores[0] == scores[1] == scores[2] != scores[3]


def test_the_program(server, files, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = files / "client.py"
    path.write_text(program.replace(ADDRESS, server.url), encoding="utf-8")
    monkeypatch.chdir(files)
    import runpy

    found = runpy.run_path(str(path))
    predicted = [label for label in found["image"]["labels"] if label["predicted"]]
    assert capsys.readouterr().out.count("\n") == len(predicted) > 0
    assert len(found["embedding"]) > 1


def test_flags_and_limits_are_those_that_the_page_has():
    for line in lines_of_shell("python -m hpa_jax.serving serve"):
        command.parser().parse_args(shlex.split(line)[4:])
    limits = Limits()
    assert f"| {limits.body // MIB} MiB | `--max-body` |" in PAGE
    assert f"| {limits.members}; {limits.images} |" in PAGE
    assert f"| {limits.queue} | `--queue` |" in PAGE
    assert f"more are told 503 | {limits.connections} |" in PAGE
    assert f"| {limits.head_seconds} s |" in PAGE
    assert f"| {limits.pause_seconds} s; {limits.body_seconds} s |" in PAGE
    assert f"| {limits.answer_seconds} s; {limits.write_seconds} s |" in PAGE
    assert f"| {limits.drain_seconds} s |" in PAGE
    assert limits.bodies == 4 * limits.body and limits.unpacked == 8 * limits.body
    flags = set(re.findall(r"--[a-z0-9-]+", command.parser().format_help()))
    for flag in re.findall(r"`(--[a-z0-9-]+)", PAGE):
        assert flag in flags or flag == "--data-binary", flag
