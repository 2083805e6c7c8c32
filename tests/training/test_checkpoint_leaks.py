"""A run of many saves holds no more than one of few: files, threads, memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "tests" / "support" / "thousand_saves.py"


def held_while_saving(folder, saves):
    command = [sys.executable, str(SCRIPT), str(folder), str(saves)]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests"))),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_thousand_saves_leak_no_file_no_thread_and_no_memory(tmp_path):
    first, *later = held_while_saving(tmp_path, 1000)
    assert [held["saves"] for held in later] == [200, 400, 600, 800, 1000]
    for held in later:
        assert held["descriptors"] <= first["descriptors"] + 5
        assert held["threads"] <= first["threads"] + 5
    # An allocator needs a while until it has what it needs.
    assert later[-1]["megabytes"] - later[0]["megabytes"] < 20
    kept = sorted(os.listdir(tmp_path))
    # Two latest, and the best.
    assert "1000" in kept and "999" in kept and len(kept) == 3
