"""launch/local.sh: what it refuses, and how it starts a run again.

The script is real; the interpreter in .venv is a recorder.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Writes down its arguments and ends with the next status of `statuses`; if that is "wait", it waits
# for SIGTERM and ends with 75.
RECORDER = """#!/usr/bin/env bash
echo "$*" >>calls
status=$(head -n 1 statuses)
sed -i 1d statuses
if [ "$status" = wait ]; then
  trap 'exit 75' TERM
  touch waiting
  while :; do sleep 0.05; done
fi
exit "$status"
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with the script, a lock, and an installation that is up to date."""
    for name in ("launch/local.sh", "requirements/cpu.lock", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(RECORDER)
    python.chmod(0o755)
    parts = [tmp_path / name for name in ("requirements/cpu.lock", "pyproject.toml")]
    installed = b"".join(part.read_bytes() for part in parts)
    stamp = subprocess.run(["cksum"], input=installed, capture_output=True, check=True)
    (tmp_path / ".venv" / "installed").write_bytes(stamp.stdout)
    return tmp_path


def local(checkout, *arguments, **environment):
    command = ["bash", str(checkout / "launch" / "local.sh"), *arguments]
    environment = os.environ | {"HPA_LOCK": "cpu"} | environment
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def outcome(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.parametrize("statuses", [("0",), ("75", "75", "0"), ("75", "2"), ("1",)])
def test_a_run_is_started_again_on_75_alone(checkout, statuses):
    (checkout / "statuses").write_text("\n".join(statuses) + "\n")
    status, _, _ = outcome(local(checkout, "train", "--config=a b.py", "--workdir=x"))
    assert status == int(statuses[-1])
    calls = (checkout / "calls").read_text().splitlines()
    assert calls == ["-m hpa_jax.main --config=a b.py --workdir=x"] * len(statuses)


def test_a_signal_to_the_script_stops_run_and_script(checkout):
    (checkout / "statuses").write_text("wait\n0\n")
    process = local(checkout, "train")
    end = time.monotonic() + 120
    while not (checkout / "waiting").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert outcome(process)[0] == 75
    assert len((checkout / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "call", [("plan", "--config=a.py"), ("train", "--config=a.py", "--mode=plan")]
)
def test_a_plan_is_a_mode_of_the_same_program(checkout, call):
    (checkout / "statuses").write_text("0\n")
    (checkout / ".venv" / "tpu").mkdir()  # the compiler is there already
    assert outcome(local(checkout, *call))[0] == 0
    assert (checkout / "calls").read_text() == "-m hpa_jax.main --config=a.py --mode=plan\n"


@pytest.mark.parametrize("has_pip", [True, False])
def test_an_interrupted_installation_is_gone_on_with(checkout, has_pip):
    """Ctrl-C while the environment is made leaves an interpreter that has no pip."""
    (checkout / ".venv" / "installed").unlink()
    shutil.copy(checkout / ".venv" / "bin" / "python", checkout / "python3.13")
    is_right_version = "0"
    statuses = [is_right_version, "0", "0", "0"]
    if not has_pip:
        statuses = [is_right_version, "1", "0", "0", "0"]
    (checkout / "statuses").write_text("\n".join(statuses) + "\n")
    status, _, err = outcome(local(checkout, "setup", PYTHON=str(checkout / "python3.13")))
    assert status == 0, err
    calls = (checkout / "calls").read_text()
    assert ('run_module("venv", run_name="__main__") .venv' in calls) == (not has_pip)
    assert calls.count("-m pip install") == 2
    assert (checkout / ".venv" / "installed").exists()
    assert outcome(local(checkout, "setup"))[2] == ""


@pytest.mark.parametrize("page", ["0", "2"])
def test_the_quickstart_ends_with_the_page_and_the_command_for_ones_own_images(checkout, page):
    (checkout / "statuses").write_text("\n".join(["0"] * 5 + [page]) + "\n")
    status, out, _ = outcome(local(checkout, "quickstart"))
    assert status == 0
    *_, first, second, third, command = out.splitlines()
    if page == "0":
        assert first.startswith("Here is your page: open it in a browser")
        assert second == f"  {checkout}/runs/quickstart/page.html"
    else:
        assert second.startswith("There is no page")
    assert third.startswith("Here is the command for your own folder of images")
    assert "hpa_jax.serving predict runs/quickstart/export DIR --out=scores.csv" in command


def test_an_unknown_lock_is_refused(checkout):
    status, _, err = outcome(local(checkout, "setup", HPA_LOCK="rocm"))
    assert status == 2
    assert "cpu, cuda or tpu" in err


@pytest.mark.parametrize("arguments", [(), ("start",), ("quickstart", "now"), ("setup", "now")])
def test_wrong_calls_end_with_2(checkout, arguments):
    status, out, err = outcome(local(checkout, *arguments))
    assert (status, out) == (2, "")
    assert err


def test_help_names_the_commands(checkout):
    status, out, _ = outcome(local(checkout, "--help"))
    assert status == 0
    for word in ("quickstart", "test [--all]", "train", "plan", "docs", "setup", "HPA_LOCK"):
        assert word in out
