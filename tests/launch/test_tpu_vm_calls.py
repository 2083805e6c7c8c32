"""launch/tpu_vm.sh: its command line, and what it prints without doing anything."""

import os
import shlex
import subprocess
import sys

import pytest
from support.tpu_cloud import PLACE, ROOT, SCRIPT, SLICE

GOLDEN = ROOT / "tests" / "golden"


def test_scripts_pass_shellcheck():
    scripts = sorted(map(str, (ROOT / "launch").glob("*.sh")))
    assert str(ROOT / SCRIPT) in scripts
    shellcheck = os.path.join(sys.prefix, "bin", "shellcheck")
    found = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


DRY_RUNS = {
    "direct": [
        "--spot",
        '--setup=gcsfuse my-bucket "$HOME/bucket"',
        "--",
        "python",
        "-m",
        "hpa_jax.main",
        "--config=a b",
        "it's; rm -rf /",
    ],
    "queued": [
        "--queued",
        "--repo=https://example.org/hpa.git",
        "--ref=v1",
        "--delete-when-done",
        "--",
        "true",
    ],
}


@pytest.mark.parametrize("name", DRY_RUNS)
def test_dry_run_prints_all_that_it_would_do_and_does_nothing(cloud, name):
    """The goldens are what `launch/tpu_vm.sh ARGUMENTS --dry-run` prints."""
    found = cloud.call(*SLICE, "--dry-run", *DRY_RUNS[name])
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == (GOLDEN / f"tpu_vm_dry_run_{name}.txt").read_text()
    assert cloud.calls() == []


def test_dry_run_of_stop_and_delete(cloud):
    stop = cloud.call(*PLACE, "--stop", "--dry-run")
    assert stop.returncode == 0
    assert "'--command=bash tpu_worker.sh stop'" in stop.stdout
    delete = cloud.call(*PLACE, "--delete", "--dry-run")
    assert delete.returncode == 0
    assert "queued-resources delete hpa" in delete.stdout
    assert "tpu-vm delete hpa" in delete.stdout
    assert cloud.calls() == []


WRONG_CALLS = {
    "no project": (
        [*(word for word in SLICE if "project" not in word), "--", "true"],
        "missing: --project;",
    ),
    "no zone": (
        [*(word for word in SLICE if "zone" not in word), "--", "true"],
        "missing: --zone;",
    ),
    "nothing": ([], "missing: --name --project --zone --accelerator-type --version -- COMMAND;"),
    "no command": (SLICE, "missing: -- COMMAND;"),
    "nothing to delete": (["--delete"], "missing: --name --project --zone;"),
    "unknown flag": ([*SLICE, "--sport", "--", "true"], "unknown argument --sport"),
    "command without --": ([*SLICE, "python"], "unknown argument python"),
    "no value": (["--name"], "--name wants a value"),
    "a value too many": ([*SLICE, "--dry-run=no", "--", "true"], "--dry-run takes no value"),
    "bad name": ([*PLACE[1:], "--name=Bad_Name", "--stop"], "--name=Bad_Name"),
    "copy and repo": ([*SLICE, "--copy", "--repo=x", "--", "true"], "exclude each other"),
    "ref alone": ([*SLICE, "--ref=x", "--", "true"], "--ref wants --repo"),
    "bad number": ([*SLICE, "--poll-seconds=1s", "--", "true"], "must be whole numbers"),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_calls_exit_2_with_one_line(cloud, name):
    words, message = WRONG_CALLS[name]
    found = cloud.call(*words)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: ")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert cloud.calls() == []


def test_help_names_every_flag(cloud):
    found = cloud.call("-h")
    assert found.returncode == 0
    script = (ROOT / SCRIPT).read_text()
    cases = script.partition("case $flag in\n  --name) name")[2].partition("esac")[0]
    flags = ["--name"]
    for line in cases.splitlines():
        if line.strip().startswith("--"):
            flags.append(line.split(")")[0].strip())
    assert len(flags) > 16
    assert [flag for flag in flags if flag not in found.stdout] == []


def test_the_commands_of_the_readme_are_understood(cloud):
    text = (ROOT / "launch/README.md").read_text()
    calls = []
    for line in text.replace("\\\n", "").splitlines():
        if line.startswith("    launch/tpu_vm.sh "):
            calls.append(line)
    assert len(calls) >= 2
    for call in calls:
        dry = call.replace("launch/tpu_vm.sh", "launch/tpu_vm.sh --dry-run")
        dry = dry.replace("PROJECT", "my-project")
        found = subprocess.run(
            ["bash", "-c", dry], cwd=ROOT, env=cloud.env, capture_output=True, text=True
        )
        assert (found.returncode, found.stderr) == (0, ""), call
        assert "+ gcloud compute tpus" in found.stdout


def test_the_setup_lines_of_the_readme_are_shell():
    text = (ROOT / "launch/README.md").read_text()
    setups = [line.strip() for line in text.splitlines() if line.startswith("    --setup=")]
    assert len(setups) == 1
    for setup in setups:
        line = shlex.split(setup)[0].partition("=")[2]
        assert subprocess.run(["bash", "-n", "-c", line]).returncode == 0
