"""Small programs that begin and end as those of this project do, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

FRAME = """
import os, signal, sys, time
from hpa_jax.environment.program import exit_on_signals, run_program
from hpa_jax.environment.streams import lost_output, when_output_is_lost

def main(arguments):
{body}
    return 0

run_program(main)
"""


def command(body: str) -> list[str]:
    """The command line of a program whose `main` has these lines."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return [sys.executable, "-c", FRAME.format(body=lines)]


def environment(**variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables


def run(body: str, **options) -> subprocess.CompletedProcess:
    """Runs such a program; `options` are of subprocess.run."""
    settings = {"env": environment(), "capture_output": True, "timeout": 120, "text": True}
    return subprocess.run(command(body), **settings | options)
