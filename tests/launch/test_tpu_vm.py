"""launch/tpu_vm.sh against a stand-in for gcloud (fake_gcloud.py) that runs the workers' side for real."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = "launch/tpu_vm.sh"
GOLDEN = Path(__file__).parents[1] / "golden"
PLACE = ["--name=hpa", "--project=my-project", "--zone=us-west4-a"]
SLICE = [*PLACE, "--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite"]
STOCK_OUT = 'ERROR: (gcloud.compute.tpus.tpu-vm.create) {\n  "code": 8,\n  "message": "There is no more capacity"\n}'


class Cloud:
    """A folder with the state of the stand-in, and ways to call the script against it."""

    def __init__(self, folder):
        self.folder = folder / "cloud"
        self.folder.mkdir()
        (folder / "bin").mkdir()
        gcloud = folder / "bin" / "gcloud"
        python, fake = shlex.quote(sys.executable), shlex.quote(str(ROOT / "tests/support/fake_gcloud.py"))
        gcloud.write_text(f'#!/bin/sh\nexec {python} -I -S {fake} "$@"\n')
        gcloud.chmod(0o755)
        path = os.pathsep.join(
            [str(folder / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]]
        )
        self.env = {**os.environ, "PATH": path, "FAKE_CLOUD": str(self.folder), "HOME": str(folder)}
        self.plan()

    def plan(self, **plan):
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def start(self, *words):
        # a session of its own, so that Ctrl-C can be sent to the script and all that it has started
        return subprocess.Popen(
            ["bash", SCRIPT, *words],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *words):
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def run(self, *words):
        """Runs a command on the slice, without pauses."""
        return self.call(*SLICE, "--poll-seconds=0", *words)

    def calls(self):
        path = self.folder / "calls"
        records = path.read_bytes().split(b"\0\0\n")[:-1] if path.exists() else []
        return [[word.decode() for word in record.split(b"\0")] for record in records]

    def did(self, *verbs):
        """The calls that change something, in order: create, delete, install, start, stop, kill."""
        names = []
        for _, _, _, verb, *rest in self.calls():
            if verb == "ssh":
                verb = next(word for word in rest if word.startswith("--command=")).split()[2]
            names.append(verb)
        return [
            name
            for name in names
            if name in (verbs or ("create", "delete", "install", "start", "stop", "kill"))
        ]

    def wait_for(self, happened):
        deadline = time.monotonic() + 120
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    yield cloud
    for path in cloud.folder.glob("workers/*/.hpa_jax_run/*"):
        if path.name in ("supervisor", "child"):
            try:
                os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
            except ProcessLookupError:
                pass


def ends_in_turn(folder, *statuses):
    """A command that ends with these statuses, one a start, on every worker; the folder is what all workers share."""
    line = (
        'count=$0-$(basename "$HOME"); echo >>"$count"; shift $(($(wc -l <"$count") - 1)); exit $1'
    )
    return ["bash", "-c", line, str(folder / "starts"), *map(str, statuses)]


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
    """The goldens are what the call itself prints: `launch/tpu_vm.sh ARGUMENTS --dry-run >tests/golden/...`."""
    found = cloud.call(*SLICE, "--dry-run", *DRY_RUNS[name])
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == (GOLDEN / f"tpu_vm_dry_run_{name}.txt").read_text()
    assert cloud.calls() == []


def test_dry_run_of_stop_and_delete(cloud):
    stop, delete = (
        cloud.call(*PLACE, "--stop", "--dry-run"),
        cloud.call(*PLACE, "--delete", "--dry-run"),
    )
    assert (stop.returncode, delete.returncode) == (0, 0)
    assert "'--command=bash tpu_worker.sh stop'" in stop.stdout
    assert "queued-resources delete hpa" in delete.stdout and "tpu-vm delete hpa" in delete.stdout
    assert cloud.calls() == []


WRONG_CALLS = {
    "no project": (
        [*(w for w in SLICE if "project" not in w), "--", "true"],
        "missing: --project;",
    ),
    "no zone": ([*(w for w in SLICE if "zone" not in w), "--", "true"], "missing: --zone;"),
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
    assert (
        found.stderr.startswith("error: ")
        and message in found.stderr
        and found.stderr.count("\n") == 1
    )
    assert cloud.calls() == []


def test_help_names_every_flag(cloud):
    found = cloud.call("-h")
    assert found.returncode == 0
    parsed = (
        (ROOT / SCRIPT)
        .read_text()
        .partition("case $flag in\n  --name) name")[2]
        .partition("esac")[0]
    )
    flags = [
        line.split(")")[0].strip() for line in parsed.splitlines() if line.strip().startswith("--")
    ]
    assert (
        len(flags) > 15 and [flag for flag in ["--name", *flags] if flag not in found.stdout] == []
    )


def test_words_of_the_command_arrive_as_they_were_given(cloud, tmp_path):
    words = [
        "it's; rm -rf /",
        "",
        "$HOME `id`",
        'a "b" \\c',
        "*",
        "two\nlines",
        "-n",
        "ä",
        "--config=x y",
    ]
    cloud.plan(workers=2)
    setup = 'printf %s "it\'s set up" >"$HOME/set up"'
    show = 'printf "%s\\0" "$PWD" "$VIRTUAL_ENV" "$@" >"$0-$(basename "$HOME")"; echo hello'
    found = cloud.run(
        f"--setup={setup}", "--", "bash", "-c", show, str(tmp_path / "arrived"), *words
    )
    assert found.returncode == 0, found.stderr
    for worker in ("0", "1"):
        home = cloud.folder / "workers" / worker
        arrived = (tmp_path / f"arrived-{worker}").read_text().split("\0")[:-1]
        assert arrived == [str(home / "hpa_jax"), str(home / "hpa_jax/.venv"), *words]
        assert (home / "set up").read_text() == "it's set up"
        assert (home / "hpa_jax/hpa_jax/labels.py").read_bytes() == (
            ROOT / "hpa_jax/labels.py"
        ).read_bytes()
        locked, project = (home / "pip").read_text().splitlines()
        assert locked.endswith("--require-hashes -r requirements/tpu.lock")
        assert project.endswith("--no-deps --no-build-isolation -e .")
    assert "\nhello\n" in found.stdout and "exit status 0" in found.stdout
    assert "costs money" in found.stderr and "--delete" in found.stderr


def test_stock_outs_are_waited_out(cloud):
    cloud.plan(create_errors=[STOCK_OUT, "ERROR: RESOURCE_EXHAUSTED"])
    found = cloud.run("--spot", "--delete-when-done", "--", "true")
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "create", "create", "install", "start", "delete"]
    created = next(call for call in cloud.calls() if "create" in call)
    assert created == [
        "compute",
        "tpus",
        "tpu-vm",
        "create",
        "hpa",
        *PLACE[1:],
        *SLICE[3:],
        "--spot",
    ]
    assert found.stderr.count("no capacity") == 2 and "costs money" not in found.stderr


@pytest.mark.parametrize(
    "error",
    ["ERROR: RESOURCE_EXHAUSTED: Quota limit has been exceeded", "ERROR: PERMISSION_DENIED"],
)
def test_other_errors_of_creation_are_not_repeated(cloud, error):
    cloud.plan(create_errors=[error])
    found = cloud.run("--", "true")
    assert found.returncode == 1 and cloud.did() == ["create"]
    assert "\nerror: " in found.stderr


@pytest.mark.parametrize("queued", [[], ["--queued"]])
def test_a_preempted_slice_is_made_anew_and_the_run_started_again(cloud, tmp_path, queued):
    cloud.plan(preempt_at_poll=2)
    once = f"[ -e {tmp_path}/before ] || {{ touch {tmp_path}/before; exec sleep 100; }}"
    found = cloud.run(*queued, "--", "bash", "-c", once)
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "delete", "create", "install", "start"]
    if queued:
        assert [call[2] for call in cloud.calls() if "create" in call] == ["queued-resources"] * 2
        assert next(call for call in cloud.calls() if "delete" in call)[2:] == [
            "queued-resources", "delete", "hpa", *PLACE[1:], "--force"
        ]  # fmt: skip


def test_status_75_starts_again_on_the_same_slice(cloud, tmp_path):
    cloud.plan(workers=2)
    found = cloud.run("--", *ends_in_turn(tmp_path, 75, 75, 0))
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "start", "start"]
    assert (
        found.stdout.count("=== ") == 6 and found.stdout.count("exit status 75") == 2
    )  # each line once


@pytest.mark.parametrize("status", [1, 2, 137])
def test_other_statuses_are_passed_on(cloud, tmp_path, status):
    cloud.plan(workers=2)
    found = cloud.run("--", *ends_in_turn(tmp_path, status, 0))
    assert found.returncode == status
    assert cloud.did() == ["create", "install", "start"]


def test_restarts_have_an_end(cloud):
    found = cloud.run("--max-restarts=2", "--", "bash", "-c", "exit 75")
    assert found.returncode == 1 and "giving up" in found.stderr
    assert cloud.did("start") == ["start"] * 3


def test_a_run_that_a_reboot_took_is_started_again(cloud, tmp_path):
    # the supervisor dies without a word, as it does when the machine goes down
    die = f"[ -e {tmp_path}/before ] || {{ touch {tmp_path}/before; kill -9 $PPID; exit 1; }}"
    found = cloud.run("--", "bash", "-c", die)
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "start"]


NAMED = 'echo "process 0: stopped: process 1 (b) gave no sign of life for 60 s; start all processes again: the run" >&2'


def dies(folder, times, own="kill -9 $$"):
    """A command that ends on worker 1 as `own` says, `times` times, and on worker 0 since it misses worker 1."""
    count = f'echo >>{folder}/$(basename "$HOME"); [ $(wc -l <{folder}/$(basename "$HOME")) -le {times} ] || exit 0'
    return [
        "bash",
        "-c",
        f'{count}; [ "$(basename "$HOME")" = 0 ] || {{ {own}; }}; {NAMED}; exit 1',
    ]


def test_a_run_of_which_a_process_died_is_started_again(cloud, tmp_path):
    cloud.plan(workers=2)
    found = cloud.run("--", *dies(tmp_path, 2))
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "start", "start"]


def test_deaths_have_an_end(cloud, tmp_path):
    cloud.plan(workers=2)
    found = cloud.run("--max-losses=1", "--", *dies(tmp_path, 9))
    assert (
        found.returncode == 1
        and "died or hung for time 2 (--max-losses): giving up" in found.stderr
    )
    assert cloud.did("start") == ["start"] * 2


@pytest.mark.parametrize("own, status", [("exit 2", 2), ("exit 1", 1)])
def test_a_process_with_a_reason_of_its_own_is_not_started_again(cloud, tmp_path, own, status):
    cloud.plan(workers=2)
    found = cloud.run("--", *dies(tmp_path, 9, own))
    assert found.returncode == status and cloud.did("start") == ["start"]


def test_workers_left_behind_by_one_that_failed_are_ended(cloud):
    cloud.plan(workers=2)
    found = cloud.run("--", "bash", "-c", '[ "$(basename "$HOME")" = 0 ] && exit 7; exec sleep 100')
    assert found.returncode == 7
    assert cloud.did() == ["create", "install", "start", "kill"]


def test_a_setup_line_that_fails_is_shown(cloud):
    found = cloud.run("--setup=echo no such bucket; false", "--", "true")
    assert (
        found.returncode == 1
        and "no such bucket" in found.stderr
        and "setup line failed" in found.stderr
    )


def test_ctrl_c_leaves_the_run_going_and_the_same_call_finds_it_again(cloud, tmp_path):
    command = [
        "--poll-seconds=1",
        "--",
        "bash",
        "-c",
        f"echo begun; until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo over",
    ]
    first = cloud.start(*SLICE, *command)
    cloud.wait_for(lambda: "poll" in cloud.did("poll"))
    os.killpg(first.pid, signal.SIGINT)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 130
    assert "costs money" in err and "--stop" in err and "--delete" in err
    child = int((cloud.folder / "workers/0/.hpa_jax_run/child").read_text())
    os.kill(child, 0)

    other = cloud.run("--", "something", "else")
    assert other.returncode == 2 and "is running another command" in other.stderr

    second = cloud.start(*SLICE, *command)
    cloud.wait_for(lambda: len(cloud.did("size")) == 2)
    (tmp_path / "go").touch()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert "attached" in err and "begun\n" in out and "over\n" in out
    assert cloud.did() == ["create", "install", "start"]


def test_stop_lets_the_run_save_and_nobody_starts_it_again(cloud, tmp_path):
    saving = f"trap 'sleep 1; touch {tmp_path}/saved; exit 75' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
    watching = cloud.start(*SLICE, "--poll-seconds=1", "--", "bash", "-c", saving)
    cloud.wait_for((tmp_path / "up").exists)
    assert cloud.call(*PLACE, "--stop").returncode == 0
    assert (tmp_path / "saved").exists()
    _, err = watching.communicate(timeout=120)
    assert watching.returncode == 75, err
    assert cloud.did() == ["create", "install", "start", "stop"]


def test_delete_finds_what_there_is(cloud):
    assert cloud.run("--queued", "--", "true").returncode == 0
    found = cloud.call(*PLACE, "--delete")
    assert found.returncode == 0 and "costs money" not in found.stderr
    assert [call[2] for call in cloud.calls() if "delete" in call] == ["queued-resources"]
    assert cloud.call(*PLACE, "--delete").returncode == 0
    assert cloud.did("delete") == ["delete"]


def test_the_commands_of_the_readme_are_understood(cloud):
    text = (ROOT / "launch/README.md").read_text()
    calls = [
        line
        for line in text.replace("\\\n", "").splitlines()
        if line.startswith("    launch/tpu_vm.sh ")
    ]
    assert len(calls) >= 2
    for line in calls:
        line = line.replace("launch/tpu_vm.sh", "launch/tpu_vm.sh --dry-run").replace(
            "PROJECT", "my-project"
        )
        found = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, env=cloud.env, capture_output=True, text=True
        )
        assert (found.returncode, found.stderr) == (0, ""), line
        assert "+ gcloud compute tpus" in found.stdout
    setups = [line.strip() for line in text.splitlines() if line.startswith("    --setup=")]
    assert len(setups) == 2
    for line in setups:
        assert (
            subprocess.run(["bash", "-n", "-c", shlex.split(line)[0].partition("=")[2]]).returncode
            == 0
        )
