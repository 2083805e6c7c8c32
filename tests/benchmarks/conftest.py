"""The benchmarks as modules that import each other by name, and as programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARKS = REPOSITORY / "benchmarks"

# The programs that draw pictures of the docs share a module as well.
sys.path[:0] = [str(BENCHMARKS), str(REPOSITORY / "docs")]


@pytest.fixture
def run_benchmark(tmp_path):
    """Runs a program of benchmarks/ with flags; returns the finished process.

    Its `rows` are those of `--json`, by name; None if it wrote none.
    """

    def run(program, *flags, environment=None):
        path = tmp_path / "rows.json"
        path.unlink(missing_ok=True)
        command = [sys.executable, str(BENCHMARKS / program), *map(str, flags), f"--json={path}"]
        if environment is None:
            environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, text=True, capture_output=True, timeout=3600
        )
        done.rows = None
        if path.exists():
            done.rows = {row["name"]: row for row in json.loads(path.read_text())}
        return done

    return run
