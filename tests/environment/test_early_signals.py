"""Signals to the program while its modules are imported: one of them is made to wait."""

import os
import signal
import subprocess
import sys
import time

import pytest
from environment.programs import REPOSITORY

WAITS = """
import os, time
open(os.environ["SEEN"], "w").close()
time.sleep(600)
"""


def stopped(tmp_path, number, *flags):
    """Status, stdout and stderr of the program after a signal that comes in its imports."""
    (tmp_path / "numpy.py").write_text(WAITS)
    seen = tmp_path / "seen"
    path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    process = subprocess.Popen(
        [sys.executable, "-m", "hpa_jax.main", *flags],
        env=os.environ | {"PYTHONPATH": path, "SEEN": str(seen)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not seen.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_training_is_to_be_started_again(tmp_path, number):
    name = signal.Signals(number).name
    line = f"stopped by {name} before there was anything to save; start it again\n"
    assert stopped(tmp_path, number, "--workdir=run") == (75, line, "")


@pytest.mark.parametrize(
    "number, status, line",
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM\n"),
        (signal.SIGHUP, 129, "stopped by SIGHUP\n"),
        (signal.SIGINT, 130, "stopped by SIGINT (Ctrl-C)\n"),
    ],
)
def test_other_modes_end_as_they_do_later(tmp_path, number, status, line):
    flags = ("--workdir=run", "--mode", "evaluate")
    assert stopped(tmp_path, number, *flags) == (status, "", line)
