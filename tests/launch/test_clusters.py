"""launch/slurm.sh with stand-ins for srun and scontrol, and launch/gke/jobset.yaml as read."""

import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from hpa_jax.parallel.group_health import RESTART_HINT
from hpa_jax.recipes import parse

ROOT = Path(__file__).parents[2]
LOST = (
    f"process 0: stopped: process 1 (b) gave no sign of life for 60 s, last at step 3{RESTART_HINT}"
)

# Ends as the next line of `plan` says: a status and what goes to stderr; or, if it is `wait`, waits
# for a signal and saves.
SRUN = """#!/bin/bash
cd "$(dirname "$0")"
printf '%s\\n' "$*" >>calls
read -r status text < <(sed -n "$(wc -l <calls)p" plan)
[ "$status" = wait ] && { trap 'exit 75' TERM; touch waiting; while :; do sleep 0.05; done; }
[ -z "$text" ] || echo "$text" >&2
exit "$status"
"""
SCONTROL = """#!/bin/bash
echo "$*" >>"$(dirname "$0")/requeued"
"""


@pytest.fixture
def slurm(tmp_path):
    """Starts the script as sbatch does, in a checkout with these ends of the run to come."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to("/bin/true")
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        program = tmp_path / name
        program.write_text(text)
        program.chmod(0o755)
    environment = os.environ | {
        "SLURM_JOB_ID": "7",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "HPA_MAX_LOSSES": "2",
    }

    def start(*plan):
        (tmp_path / "plan").write_text("".join(f"{line}\n" for line in plan))
        command = ["bash", ROOT / "launch/slurm.sh", "--config=a b", "--workdir=w"]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    return start


def calls(folder, name="calls"):
    path = folder / name
    if not path.exists():
        return []
    return path.read_text().splitlines()


ENDS = {
    "finished": (["0"], 0, 1),
    "a call that is wrong": ([f"2 {LOST}"], 2, 1),
    "a reason of its own": (["1 stopped: the loss was not finite"], 1, 1),
    "killed, and nobody else missed it": (["137"], 137, 1),
    "named by the others": ([f"1 {LOST}", f"137 {LOST}", "0"], 0, 3),
    "named too often": ([f"1 {LOST}"] * 5, 1, 3),
    "stopped by nobody here": (["75", "0"], 0, 2),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_the_end_of_a_run_leads_to(slurm, tmp_path, name):
    plan, status, starts = ENDS[name]
    process = slurm(*plan)
    assert process.wait(300) == status, process.stderr.read()
    process.stderr.close()
    expected = (
        "--label --kill-on-bad-exit=0 .venv/bin/python -m hpa_jax.main --config=a b --workdir=w"
    )
    assert calls(tmp_path) == [expected] * starts
    assert not calls(tmp_path, "requeued")


def test_before_the_time_limit_the_run_saves_and_is_queued_again(slurm, tmp_path):
    process = slurm("wait")
    while not (tmp_path / "waiting").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 75
    assert "goes into the queue again" in process.stderr.read()
    process.stderr.close()
    assert calls(tmp_path, "requeued") == ["requeue 7"]
    assert len(calls(tmp_path)) == 1


def test_help_dry_run_and_what_is_no_job():
    environment = {}
    for name, value in os.environ.items():
        if not name.startswith("SLURM"):
            environment[name] = value

    def call(*words):
        command = ["bash", ROOT / "launch/slurm.sh", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    usage = call("-h").stdout
    assert "sbatch --nodes=2" in usage
    assert "#SBATCH" not in usage
    assert "-m hpa_jax.main --config=a\\ b" in call("--dry-run", "--config=a b").stdout
    assert call("--config=a").returncode == call().returncode == 2


def test_the_jobset_is_one_slice_with_all_its_chips_and_a_call_that_is_understood(tmp_path):
    jobset = yaml.safe_load((ROOT / "launch/gke/jobset.yaml").read_text())
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    hosts = job["completions"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert hosts == job["parallelism"]
    assert hosts * chips == math.prod(int(side) for side in topology.split("x"))
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [2],
    }
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert {"--workdir", "--config.data.data_dir"} == {
        word.partition("=")[0] for word in container["args"] if "=gs://BUCKET/" in word
    }
    words = [word.replace("gs://BUCKET", str(tmp_path)) for word in container["args"]]
    mode, _, config = parse(words)
    assert mode == "train"
    assert config.data.batch_size % (hosts * chips) == 0
