"""Runs in a bucket: killed, started twice, broken by name, throttled, and without a bucket."""

import signal
import time

import pytest
from support.bucket_runs import BUCKET, STEPS, ended, one_line, same_log, same_run

NOT_TO_BE_READ = "--config.data.data_dir=/nowhere"


def killed_at_step(run, step, **options):
    process = run.start(step_s=0.1, **options)
    run.until(lambda: step in run.steps(), process)
    process.kill()
    status, _, err = ended(process)
    assert status == -signal.SIGKILL, err


def resumed(run):
    status, out, err = run.run()
    assert status == 0, err
    assert [line for line in err.splitlines() if not line.startswith("warning: ")] == []
    return out, err


def test_a_run_that_was_killed_resumes_to_the_bit(bucket_run, reference):
    run = bucket_run()
    # Each upload takes a while, so that the kill is likely to come in the middle of some.
    run.gcs.faults.latency_s = 0.03
    killed_at_step(run, 6)
    run.gcs.faults.latency_s = 0
    assert run.contents()["owner"] is not None
    _, err = resumed(run)
    assert err == ""
    same_run(run, reference)


def test_two_starts_and_a_lease_that_is_broken_by_name(bucket_run, reference):
    run = bucket_run()
    first = run.start(step_s=3)
    run.until(lambda: run.steps(), first)
    status, _, err = run.run()
    line = one_line(status, err, 2)
    owner = run.contents()["owner"]
    assert line.startswith(f"error: {run.url} is in use by process {owner['process']} on ")
    assert line.endswith(f"--config.devices.break_lease={owner['name']}")
    second = run.start(f"--config.devices.break_lease={owner['name']}")
    status, _, err = ended(first)
    line = one_line(status, err, 1)
    assert line.startswith(f"stopped: {run.url} was taken over by process {second.pid} on ")
    status, _, err = ended(second)
    assert status == 0 and err == "", err
    same_run(run, reference)


def test_a_whole_run_with_all_that_passes(bucket_run, reference):
    """Throttling, broken connections, lost answers, a listing that lags, and reordering."""
    run = bucket_run()
    faults = run.gcs.faults
    faults.reorder_s = 0.03
    faults.list_lag_s = 30
    process = run.start(step_s=0.2)
    seen = run.gcs.count()
    while process.poll() is None:
        time.sleep(0.05)
        # A part of all requests, and not each attempt at the same one.
        if run.gcs.count() >= seen + 20:
            faults.throttle(1, 429)
            faults.throttle(1, 503)
            faults.lose_answers(2)
            faults.break_connections(1, after_bytes=100)
            seen = run.gcs.count()
    status, _, err = ended(process)
    faults.clear()
    assert status == 0 and err == "", err
    same_run(run, reference)


@pytest.mark.parametrize("fault", ["missing", "forbidden", "expired"])
def test_a_bucket_that_cannot_be_used(bucket_run, fault):
    run = bucket_run()
    words = "there is no such bucket"
    if fault == "missing":
        run.url = "gs://missing/run"
    if fault == "forbidden":
        run.gcs.faults.forbid(BUCKET)
        words = "no permission"
    if fault == "expired":
        run.gcs.faults.expire_tokens()
        words = "the credentials are not accepted"
    line = one_line(*run.run()[::2], 2)
    assert line.startswith("error: gs://") and words in line
    run.gcs.faults.clear()
    assert run.names() == []


@pytest.mark.slow
@pytest.mark.parametrize("requests", [0, 5, 25, 40, 60, 85, 110, 130])
def test_a_kill_at_any_request(bucket_run, reference, requests):
    run = bucket_run()
    run.gcs.clear_requests()
    run.gcs.faults.latency_s = 0.01
    process = run.start()
    run.until(lambda: run.gcs.count("POST", run.prefix) >= requests, process)
    process.kill()
    ended(process)
    run.gcs.faults.clear()
    resumed(run)
    same_run(run, reference)


@pytest.mark.slow
def test_one_kill_after_the_other(bucket_run, reference):
    run = bucket_run()
    run.gcs.faults.latency_s = 0.02
    for step in (2, 4, 6, 8):
        killed_at_step(run, step)
    run.gcs.faults.clear()
    resumed(run)
    same_run(run, reference)


@pytest.mark.slow
def test_a_step_that_is_saved_again_where_a_run_resumes(bucket_run, reference):
    """SIGTERM saves without an evaluation; the resumed run evaluates, and saves the same step."""
    run = bucket_run()
    process = run.start("--config.checkpoint.every=0", step_s=0.5)
    run.until(lambda: len(_lines(run)) >= 4, process)
    process.terminate()
    status, out, err = ended(process)
    assert status == 75, err
    (saved,) = {step for step in run.steps() if step != 4} or {4}
    run.gcs.faults.latency_s = 0.05
    process = run.start(f"--config.train.eval_every={saved}", step_s=0.1)
    run.until(lambda: any(name.endswith(".next") for name in run.names()), process)
    process.kill()
    ended(process)
    run.gcs.faults.clear()
    resumed(run)
    assert run.arrays(STEPS) == reference.arrays(STEPS)
    assert not [name for name in run.names() if name.endswith(".next")]


def _lines(run):
    try:
        return run.get("metrics.jsonl").splitlines()
    except KeyError:
        return []


@pytest.mark.slow
def test_one_that_was_suspended_and_taken_over(bucket_run, reference):
    run = bucket_run()
    first = run.start(step_s=0.3)
    run.until(lambda: 4 in run.steps(), first)
    first.send_signal(signal.SIGSTOP)
    status, _, err = run.run()
    assert status == 0 and err == "", err
    before = {name: run.gcs.generation(BUCKET, f"{run.prefix}/{name}") for name in run.names()}
    first.send_signal(signal.SIGCONT)
    line = one_line(*ended(first)[::2], 1)
    assert f"stopped: {run.url} was taken over by a process that has ended" in line
    after = {name: run.gcs.generation(BUCKET, f"{run.prefix}/{name}") for name in run.names()}
    assert {name: after[name] for name in before} == before
    assert all(name.startswith(("checkpoints/", ".probe")) for name in after.keys() - before)
    assert run.arrays(STEPS) == reference.arrays(STEPS)
    same_log(run, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault, status, words",
    [
        ("expired", 2, "the credentials are not accepted"),
        ("forbidden", 2, "no permission"),
        ("away", 1, "Cloud Storage has not answered for 4 s"),
        ("removed", 1, "contents.json was removed"),
        ("damaged", 1, "contents.json is not as it was written"),
    ],
)
def test_what_goes_wrong_during_a_run(bucket_run, reference, fault, status, words):
    run = bucket_run()
    process = run.start(step_s=0.5, HPA_BUCKET_TIMEOUT_S="4")
    run.until(lambda: 2 in run.steps(), process)
    faults = run.gcs.faults
    if fault == "expired":
        faults.expire_tokens()
    if fault == "forbidden":
        faults.forbid(BUCKET)
    if fault == "away":
        faults.throttle(10**6, 503)
    if fault == "removed":
        run.gcs.delete(BUCKET, f"{run.prefix}/contents.json")
    if fault == "damaged":
        run.gcs.put(BUCKET, f"{run.prefix}/contents.json", b"{")
    line = one_line(*ended(process)[::2], status)
    assert words in line and run.url in line
    faults.clear()
    if fault == "damaged":
        line = one_line(*run.run()[::2], 2)
        assert "contents.json is not as it was written; delete it" in line
        run.gcs.delete(BUCKET, f"{run.prefix}/contents.json")
    resumed(run)
    assert run.arrays(STEPS) == reference.arrays(STEPS)
    same_log(run, reference)
