"""No JAX: shown by blocking its imports, and in an environment of requirements/serve.lock alone.

The slow test runs the commands of the container's file, as they stand there.
"""

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import requests
from support.http_server import REPOSITORY, Server

from hpa_jax.labels import CHANNELS

CONTAINER_FILE = REPOSITORY / "launch" / "serve" / "Containerfile"
HEAVY = ("jax", "jaxlib", "flax", "absl", "ml_collections", "etils", "orbax", "optax", "tensorflow")


def absent() -> tuple[str, ...]:
    """Names under which what is not in requirements/serve.lock would be imported."""
    lock = (REPOSITORY / "requirements" / "serve.lock").read_text(encoding="utf-8")
    served = {name.lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    served |= {"hpa_jax", "hpa-jax"}
    names = set(HEAVY)
    for name, packages in importlib.metadata.packages_distributions().items():
        is_served = any(re.sub("[-_.]+", "-", package).lower() in served for package in packages)
        if not is_served and not name.startswith("_"):
            names.add(name)
    return tuple(sorted(names - {"hpa_jax", "configs", "tfds_builder", "tests"}))


# As `python -m hpa_jax.serving`, in a Python that has none of these.
BLOCKED = f"""
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent()!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Blocker())
from hpa_jax.environment.program import run_program
from hpa_jax.serving.__main__ import main
run_program(main)
"""


def image_folder(folder: Path, field: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in field.items():
        (folder / f"a_{name}.png").write_bytes(data)
    return folder


def scores(answer: requests.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [label["probability"] for label in answer.json()["images"][0]["labels"]]


def column_of_scores(table: Path) -> list[float]:
    """The probabilities of the only row of a table by `predict`."""
    return np.load(table)[0].tolist()


def test_serving_and_predicting_import_no_jax(export, field, tmp_path):
    server = Server(export, "--threads=1", program=("-c", BLOCKED, "serve")).wait()
    answer = requests.post(server.url + "/v1/predict", files=field, timeout=60)
    served = scores(answer)
    # JAX, TensorFlow and what they bring would take twice this.
    assert server.memory() < 250
    assert server.stop() == 0
    folder = image_folder(tmp_path / "images", field)
    table = tmp_path / "scores.npy"
    command = [sys.executable, "-c", BLOCKED, "predict", export, folder, f"--out={table}"]
    done = subprocess.run(
        [*command, "--backend=onnx"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(served, column_of_scores(table), atol=1e-5)

    for command in (["predict", export, folder, "--cells"], ["segment", folder]):
        out = f"--out={tmp_path / command[0]}.csv"
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED, *command, out],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
        )
        assert done.returncode == 2, done.stderr
        assert "pip install sci" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def instructions() -> list[tuple[str, str]]:
    """Those of the container's file: name and the rest."""
    text = CONTAINER_FILE.read_text(encoding="utf-8").replace("\\\n", "")
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            found.append((name, rest))
    return found


def of_kind(kind: str) -> list[str]:
    return [rest for name, rest in instructions() if name == kind]


def test_the_containers_file_runs_as_nobody_and_copies_what_there_is():
    assert [rest.partition(":")[0].isdigit() for rest in of_kind("USER")] == [True]
    assert of_kind("USER")[0] != "0:0"
    for copied in of_kind("COPY"):
        for source in copied.split()[:-1]:
            assert (REPOSITORY / source).exists(), source
    names = [name for name, _ in instructions()]
    # Nothing is installed or copied after the user is nobody.
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    entry = json.loads(of_kind("ENTRYPOINT")[0])
    assert entry[:4] == ["python", "-m", "hpa_jax.serving", "serve"]
    assert any(argument.startswith("--token-file=") for argument in entry)


@pytest.mark.slow
def test_the_containers_commands_in_an_environment_of_their_own(export, field, tmp_path):
    """Needs an index of packages that pip can reach."""
    place = tmp_path / "srv"
    place.mkdir()
    for copied in of_kind("COPY"):
        *sources, target = copied.split()
        for source in sources:
            if (REPOSITORY / source).is_dir():
                shutil.copytree(REPOSITORY / source, place / target)
                continue
            path = place / (target if not target.endswith("/") else f"{target}{source}")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / source, path)
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for command in of_kind("RUN"):
        subprocess.run(shlex.split(command), cwd=place, env=environment, check=True)
    shutil.rmtree(place)
    python = programs / "python"

    def run(*arguments) -> subprocess.CompletedProcess:
        command = [python, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    for name in HEAVY:
        assert "ModuleNotFoundError" in run("-c", f"import {name}").stderr, name

    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n", encoding="utf-8")
    _, *program, folder, host, wants_token = json.loads(of_kind("ENTRYPOINT")[0])
    assert folder == "/export" and wants_token == "--token-file=/token"
    server = Server(
        export,
        host,
        f"--token-file={token}",
        program=program,
        python=python,
        cwd=tmp_path,
        environment=environment,
    ).wait()
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    health = of_kind("HEALTHCHECK")[0].partition("CMD ")[2]
    code = json.loads(health)[2].replace("http://127.0.0.1:8000", url)
    assert run("-c", code).returncode == 0
    right = {"Authorization": "Bearer 0123456789abcdef"}
    answer = requests.post(f"{url}/v1/predict", files=field, headers=right, timeout=60)
    served = scores(answer)
    assert requests.get(url, timeout=60).status_code == 200
    assert server.stop() == 0

    images = image_folder(tmp_path / "images", field)
    table = tmp_path / "scores.npy"
    done = run(
        "-m", "hpa_jax.serving", "predict", export, images, f"--out={table}", "--backend=onnx"
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(served, column_of_scores(table), atol=1e-5)

    page = tmp_path / "page.html"
    done = run("-m", "hpa_jax.serving", "page", export, page)
    if shutil.which("npm"):
        assert done.returncode == 0 and "<html" in page.read_text(encoding="utf-8"), done.stderr
    else:
        assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert set(CHANNELS) == set(field)
