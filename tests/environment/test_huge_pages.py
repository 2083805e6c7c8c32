"""Huge pages: when a program starts itself once more for them, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpa_jax.environment import huge_pages

REPOSITORY = Path(__file__).resolve().parents[2]
TUNABLES = "GLIBC_TUNABLES"

# Says how it was started. With the argument `traced` its parent is its debugger.
PROGRAM = """
import ctypes, json, os, signal, sys
print(os.getpid(), file=sys.stderr)
if sys.argv[1:] == ["traced"]:
    ctypes.CDLL(None).ptrace(0, 0, 0, 0)
from hpa_jax.environment import huge_pages
huge_pages.restart("probe")
print(json.dumps({
    "on": huge_pages.is_on(),
    "tunables": os.environ.get("GLIBC_TUNABLES"),
    "ours": [name for name in os.environ if name.startswith("HPA_HUGE_PAGES_")],
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "arguments": sys.argv[1:],
    "notes": huge_pages.notes(),
    "turned_off": [huge_pages.turn_off(), huge_pages.turn_off()],
}))
"""

pytestmark = pytest.mark.skipif(
    not huge_pages.is_offered(), reason="this kernel or C library has no huge pages to ask for"
)


@pytest.fixture
def start(tmp_path):
    """Runs PROGRAM; returns what it says, and how often it has begun."""
    (tmp_path / "probe.py").write_text(PROGRAM)

    def start(*command, **variables):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
        environment |= {"JAX_PLATFORMS": "cpu"} | variables
        done = subprocess.run(
            [sys.executable, *(command or ("-m", "probe"))],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found = next(line for line in done.stdout.splitlines() if line.startswith("{"))
        begun = done.stderr.split()
        assert len(set(begun)) == 1, "the process is the same one"
        return json.loads(found) | {"begun": len(begun)}

    return start


def test_it_starts_itself_once_more_and_leaves_nothing_to_its_children(start):
    found = start("-W", "ignore", "-m", "probe", "--one=a b", "")
    assert found["begun"] == 2
    assert found["on"]
    assert found["tunables"] is None
    assert not found["ours"]
    assert not found["blocked"]
    assert found["arguments"] == ["--one=a b", ""]
    assert "memory in huge pages" in found["notes"][0]
    assert found["turned_off"] == [True, False]


def test_what_the_user_has_set_is_kept(start):
    others = "glibc.malloc.arena_max=3:glibc.malloc.tcache_count=5"
    found = start(**{TUNABLES: others})
    assert found["begun"] == 2
    assert found["on"]
    assert found["tunables"] == others


def test_a_program_that_has_them_already_is_not_started_again(start):
    found = start(**{TUNABLES: f"glibc.malloc.arena_max=3:{huge_pages.HUGE}"})
    assert found["begun"] == 1
    assert found["on"]
    assert found["tunables"] == "glibc.malloc.arena_max=3"


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ((), {"HPA_HUGE_PAGES": "0"}),
        ((), {"JAX_PLATFORMS": "cuda,cpu"}),
        ((), {TUNABLES: "glibc.malloc.hugetlb=2"}),
        ((), {"COVERAGE_PROCESS_START": "x"}),
        (("probe.py",), {}),
        (("-c", "import probe"), {}),
        (("-m", "cProfile", "-m", "probe"), {}),
        (("-m", "pdb", "-c", "continue", "-c", "quit", "-m", "probe"), {}),
        (("-m", "trace", "--count", "--coverdir=.", "--module", "probe"), {}),
        (("-m", "probe", "traced"), {}),
    ],
)
def test_it_is_left_alone(start, command, variables):
    found = start(*command, **variables)
    assert found["begun"] == 1
    assert not found["on"]
    assert not found["turned_off"][0]
    is_hinted = variables.get("HPA_HUGE_PAGES") != "0"
    assert [huge_pages.HUGE in note for note in found["notes"]] == [True] * is_hinted


def test_a_run_says_that_it_has_them(small_run, run, tmp_path, monkeypatch):
    monkeypatch.setenv("HPA_HUGE_PAGES", "1")
    done = run(*small_run, "--config.train.steps=1", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("memory in huge pages (HPA_HUGE_PAGES=0: in small ones)") == 1
