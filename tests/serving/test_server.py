"""A server that was set up as docs/serving.md says: an environment with nothing else in it."""

import os
import re
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPORT = ROOT / "tests" / "golden" / "version_0_1" / "run" / "export"


def documented_packages() -> list[str]:
    """What the page installs from an index, besides this package itself."""
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.search(r"^pip install (jax.*)$", page, re.MULTILINE).group(1).split()


def test_the_page_names_what_running_a_model_imports():
    from hpa_jax.serving.onnx.session import PACKAGES

    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    packages = re.search(r"^pip install (numpy.*)$", page, re.MULTILINE).group(1).split()
    assert {name.partition("==")[0] for name in packages} == set(PACKAGES)


def test_the_page_names_what_serving_imports():
    import tomllib

    from hpa_jax.serving.jax_backend import PACKAGES

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name.partition("==")[0] for name in documented_packages()} == set(PACKAGES)
    # Whoever trains exports as well.
    assert {name.partition("==")[0] for name in project["dependencies"]} >= set(PACKAGES)


@pytest.mark.slow
def test_it_serves_and_says_what_is_missing(tmp_path):
    """Needs an index of packages that pip can reach."""
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }

    def install(*packages: str) -> None:
        command = [python, "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": ""})

    def serve() -> subprocess.CompletedProcess:
        command = [python, "-m", "hpa_jax.serving", EXPORT]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    *without, flatbuffers = documented_packages()
    assert flatbuffers == "flatbuffers"
    done = serve()
    assert done.returncode == 2 and "No module named 'numpy'" in done.stderr
    install(*without)
    done = serve()
    assert done.returncode == 2 and "No module named 'flatbuffers'" in done.stderr
    assert done.stderr.count("\n") == 1
    install(flatbuffers)
    done = serve()
    assert done.returncode == 0, done.stderr
    assert "golden output reproduced" in done.stdout
