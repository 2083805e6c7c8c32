"""launch/tpu_vm.sh and the slice: creating, installing, preemption, attaching, stop, delete."""

import os
import signal
import sys

import pytest
from support.fake_gcs import FakeGcs
from support.tpu_cloud import PLACE, ROOT, SLICE

STOCK_OUT = (
    'ERROR: (gcloud.compute.tpus.tpu-vm.create) {\n  "code": 8,\n'
    '  "message": "There is no more capacity"\n}'
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
    arrived = tmp_path / "arrived"
    found = cloud.run(f"--setup={setup}", "--", "bash", "-c", show, str(arrived), *words)
    assert found.returncode == 0, found.stderr
    for worker in ("0", "1"):
        home = cloud.folder / "workers" / worker
        checkout = home / "hpa_jax"
        seen = (tmp_path / f"arrived-{worker}").read_text().split("\0")[:-1]
        assert seen == [str(checkout), str(checkout / ".venv"), *words]
        assert (home / "set up").read_text() == "it's set up"
        labels = "hpa_jax/labels.py"
        assert (checkout / labels).read_bytes() == (ROOT / labels).read_bytes()
        locked, buckets, project = (home / "pip").read_text().splitlines()
        assert locked.endswith("--require-hashes -r requirements/tpu.lock")
        assert buckets.endswith("--require-hashes -r requirements/gcs.lock")
        assert project.endswith("--no-deps --no-build-isolation -e .")
    assert "\nhello\n" in found.stdout
    assert "exit status 0" in found.stdout
    assert "costs money" in found.stderr
    assert "--delete" in found.stderr


@pytest.mark.slow
def test_a_run_whose_folders_are_in_a_bucket_needs_no_mount(cloud, small_run, compilation_cache):
    with FakeGcs(buckets=["bucket"]) as gcs:
        cloud.env |= gcs.environment() | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(compilation_cache),
        }
        steps = "--config.train.steps=2"
        workdir = "--workdir=gs://bucket/runs/small"
        command = [sys.executable, "-m", "hpa_jax.main", *small_run, steps, workdir]
        found = cloud.run("--", *command)
        assert found.returncode == 0, found.stderr
        names = gcs.names("bucket")
    assert "runs/small/checkpoints/2/manifest.json" in names, names


def test_stock_outs_are_waited_out(cloud):
    cloud.plan(create_errors=[STOCK_OUT, "ERROR: RESOURCE_EXHAUSTED"])
    found = cloud.run("--spot", "--delete-when-done", "--", "true")
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "create", "create", "install", "start", "delete"]
    created = next(call for call in cloud.calls() if "create" in call)
    command = ["compute", "tpus", "tpu-vm", "create", "hpa"]
    assert created == [*command, *PLACE[1:], *SLICE[3:], "--spot"]
    assert found.stderr.count("no capacity") == 2
    assert "costs money" not in found.stderr


@pytest.mark.parametrize(
    "error",
    ["ERROR: RESOURCE_EXHAUSTED: Quota limit has been exceeded", "ERROR: PERMISSION_DENIED"],
)
def test_other_errors_of_creation_are_not_repeated(cloud, error):
    cloud.plan(create_errors=[error])
    found = cloud.run("--", "true")
    assert found.returncode == 1
    assert cloud.did() == ["create"]
    assert "\nerror: " in found.stderr


@pytest.mark.parametrize("queued", [[], ["--queued"]])
def test_a_preempted_slice_is_made_anew_and_the_run_started_again(cloud, tmp_path, queued):
    cloud.plan(preempt_at_poll=2)
    once = f"[ -e {tmp_path}/before ] || {{ touch {tmp_path}/before; exec sleep 100; }}"
    found = cloud.run(*queued, "--", "bash", "-c", once)
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "delete", "create", "install", "start"]
    if queued:
        created = [call[2] for call in cloud.calls() if "create" in call]
        assert created == ["queued-resources"] * 2
        deleted = next(call for call in cloud.calls() if "delete" in call)
        assert deleted[2:] == ["queued-resources", "delete", "hpa", *PLACE[1:], "--force"]


def test_a_setup_line_that_fails_is_shown(cloud):
    found = cloud.run("--setup=echo no such bucket; false", "--", "true")
    assert found.returncode == 1
    assert "no such bucket" in found.stderr
    assert "setup line failed" in found.stderr


def test_ctrl_c_leaves_the_run_going_and_the_same_call_finds_it_again(cloud, tmp_path):
    wait = f"echo started; until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo over"
    command = ["--poll-seconds=1", "--", "bash", "-c", wait]
    first = cloud.start(*SLICE, *command)
    cloud.wait_for(lambda: "poll" in cloud.did("poll"))
    os.killpg(first.pid, signal.SIGINT)
    _, err = first.communicate(timeout=300)
    assert first.returncode == 130
    assert "costs money" in err
    assert "--stop" in err
    assert "--delete" in err
    child = int((cloud.folder / "workers/0/.hpa_jax_run/child").read_text())
    os.kill(child, 0)  # it is there

    other = cloud.run("--", "something", "else")
    assert other.returncode == 2
    assert "is running another command" in other.stderr

    second = cloud.start(*SLICE, *command)
    cloud.wait_for(lambda: len(cloud.did("size")) == 2)
    (tmp_path / "go").touch()
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert "attached" in err
    assert "started\n" in out
    assert "over\n" in out
    assert cloud.did() == ["create", "install", "start"]


def test_stop_lets_the_run_save_and_nobody_starts_it_again(cloud, tmp_path):
    on_stop = f"sleep 1; touch {tmp_path}/saved; exit 75"
    saving = f"trap '{on_stop}' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
    watching = cloud.start(*SLICE, "--poll-seconds=1", "--", "bash", "-c", saving)
    cloud.wait_for((tmp_path / "up").exists)
    assert cloud.call(*PLACE, "--stop").returncode == 0
    assert (tmp_path / "saved").exists()
    _, err = watching.communicate(timeout=300)
    assert watching.returncode == 75, err
    assert cloud.did() == ["create", "install", "start", "stop"]


def test_delete_finds_what_there_is(cloud):
    assert cloud.run("--queued", "--", "true").returncode == 0
    found = cloud.call(*PLACE, "--delete")
    assert found.returncode == 0
    assert "costs money" not in found.stderr
    assert [call[2] for call in cloud.calls() if "delete" in call] == ["queued-resources"]
    assert cloud.call(*PLACE, "--delete").returncode == 0
    assert cloud.did("delete") == ["delete"]
