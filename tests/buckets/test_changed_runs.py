"""Runs in a bucket whose objects somebody damages, replaces, removes or copies; their readers."""

import json

import pytest
from support.bucket_runs import BUCKET, STEPS, ended, one_line, same_log
from support.process_jobs import free_address

pytestmark = pytest.mark.slow


@pytest.fixture
def finished(reference):
    """Copies a run that has finished its 10 steps; what is done to the copy is done to it alone."""

    def copy(name, but=()):
        return reference.copy(name, but)

    return copy


def on(run):
    """Trains two steps more; returns the warnings."""
    status, _, err = run.run("--config.train.steps=12")
    assert status == 0, err
    return err


def array_files(run, step):
    """The files of a checkpoint's arrays; which array lies in which one is a matter of timing."""
    start = f"checkpoints/{step}/state/"
    return [name for name in run.names() if name.startswith(start) and "/d/" in name]


def do_damage(run, name, damage):
    place = f"{run.prefix}/{name}"
    content = run.get(name)
    half = len(content) // 2
    if damage == "flipped":
        run.gcs.flip_bit(BUCKET, place, half)
    if damage == "replaced":
        run.gcs.put(BUCKET, place, content[:half] + bytes(half))
    if damage == "removed":
        run.gcs.delete(BUCKET, place)
    if damage == "short":
        # By half: behind the last values Orbax may have written what nobody reads.
        run.gcs.put(BUCKET, place, content[:half])


@pytest.mark.parametrize("damage", ["flipped", "replaced", "removed", "short"])
@pytest.mark.parametrize("what", ["array", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over(finished, reference, tmp_path, damage, what):
    run = finished(tmp_path.name)
    wanted = [f"checkpoints/{STEPS}/{what}"]
    if what == "array":
        wanted = array_files(run, STEPS)
    for name in wanted:
        do_damage(run, name, damage)
    status, _, err = run.run("--config.evaluate.checkpoint=10", mode="evaluate")
    line = one_line(status, err, 2)
    assert f"{run.url}/checkpoints/10 is damaged" in line
    status, _, err = run.run()
    assert status == 0, err
    [warning] = err.splitlines()
    assert f"{STEPS} (" in warning and "the run resumes from step 8" in warning
    assert run.arrays(STEPS) == reference.arrays(STEPS)
    assert [name for name in run.names() if name.startswith(f"checkpoints/{STEPS}.damaged/")]
    same_log(run, reference)


def test_a_config_that_is_damaged_or_gone(finished, tmp_path):
    run = finished(tmp_path.name)
    content = run.get("config.json")
    run.gcs.put(BUCKET, f"{run.prefix}/config.json", content[:100])
    assert f"{run.url}/config.json" in one_line(*run.run()[::2], 2)
    run.gcs.delete(BUCKET, f"{run.prefix}/config.json")
    line = one_line(*run.run()[::2], 2)
    assert f"{run.url} holds checkpoints and no config.json" in line
    run.gcs.put(BUCKET, f"{run.prefix}/config.json", content)
    run.gcs.flip_bit(BUCKET, f"{run.prefix}/config.json", 9)
    assert "config.json is damaged" in one_line(*run.run()[::2], 2)
    run.gcs.put(BUCKET, f"{run.prefix}/config.json", content)
    assert on(run) == "" and run.steps()[-1] == 12


@pytest.mark.parametrize("but", [(), ("contents.json",)])
def test_a_copy_of_a_run_resumes_and_is_evaluated(finished, reference, tmp_path, but):
    run = finished(tmp_path.name, but)
    for checkpoint in ("8", "latest"):
        status, _, err = run.run(f"--config.evaluate.checkpoint={checkpoint}", mode="evaluate")
        assert status == 0 and err == "", err
    assert json.loads(run.get("evaluation.json"))
    assert on(run) == "" and run.steps()[-1] == 12
    assert len(run.log()) == len(reference.log()) + 3


def copy_step(source, step, run, other):
    """Copies a checkpoint within the bucket."""
    start = f"checkpoints/{step}/"
    for name in source.names():
        if name.startswith(start):
            target = f"{run.prefix}/checkpoints/{other}/{name.removeprefix(start)}"
            run.gcs.put(BUCKET, target, source.get(name))


def test_a_copy_of_a_checkpoint_is_left_alone(finished, tmp_path):
    run = finished(tmp_path.name)
    copy_step(run, STEPS, run, "11")
    copy_step(run, STEPS, run, "11.copy")
    before = {name for name in run.names() if "/11" in name}
    warning = on(run)
    assert warning.startswith("warning: ") and "checkpoints/11, checkpoints/11.copy" in warning
    assert run.steps()[-1] == 12
    assert {name for name in run.names() if "/11" in name} == before


def test_a_checkpoint_of_another_run(bucket_run, reference):
    run = bucket_run("", "--config.train.seed=7", "--config.checkpoint.keep=9")
    status, _, err = run.run("--config.train.steps=4")
    assert status == 0, err
    copy_step(reference, 8, run, 8)
    status, _, err = run.run("--config.train.steps=6")
    assert status == 0 and "has checkpoints/8, which this run has not saved" in err, err
    run.gcs.delete(BUCKET, f"{run.prefix}/contents.json")
    status, _, err = run.run("--config.train.steps=7")
    assert status == 0 and "8 (it is a step of another run)" in err, err
    assert run.steps() == [2, 4, 6, 7]


def test_a_checkpoint_with_no_more_than_a_run_needs(finished, reference, tmp_path):
    run = finished(tmp_path.name)
    for name in run.names():
        if not name.startswith("checkpoints/8/") and name not in ("config.json", "learned_ids.npy"):
            run.gcs.delete(BUCKET, f"{run.prefix}/{name}")
    status, _, err = run.run()
    assert status == 0 and err == "", err
    assert run.arrays(STEPS) == reference.arrays(STEPS)


def test_it_is_evaluated_and_predicted_while_it_trains(bucket_run, reference):
    run = bucket_run()
    process = run.start(step_s=1.5)
    run.until(lambda: 4 in run.steps(), process)
    for mode, result in (("evaluate", "evaluation.json"), ("predict", "predictions.csv")):
        flags = ("--config.evaluate.checkpoint=latest",)
        status, _, err = run.run(*flags, mode=mode)
        # The checkpoint that it has chosen may go meanwhile.
        if status:
            assert "is not there any more" in one_line(status, err, 2)
        else:
            assert run.get(result)
    status, _, err = ended(process)
    assert status == 0 and err == "", err
    assert run.arrays(STEPS) == reference.arrays(STEPS)
    same_log(run, reference)


def test_data_in_the_bucket_that_change_under_a_run(bucket_run, small_data, reference):
    run = bucket_run("", f"--config.data.data_dir=gs://{BUCKET}/data")
    shards = []
    for path in sorted(small_data.rglob("*")):
        if path.is_file():
            name = f"data/{path.relative_to(small_data)}"
            run.gcs.put(BUCKET, name, path.read_bytes())
            if ".tfrecord" in name and "train" in name and not name.endswith(".index"):
                shards.append(name)
    flags = ("--config.data.cache_gb=0", "--config.train.steps=100000")
    process = run.start(*flags, step_s=0.3)
    run.until(lambda: 2 in run.steps(), process)
    for name in shards:
        content = run.gcs.get(BUCKET, name)
        run.gcs.put(BUCKET, name, content)
    line = one_line(*ended(process)[::2], 2)
    assert f"error: gs://{BUCKET}/data/" in line and "was replaced while it was read" in line
    # The same content again: it is the same data.
    status, _, err = run.run()
    assert status == 0 and err == "", err
    assert run.arrays(STEPS) == reference.arrays(STEPS)


def test_two_processes_are_killed_and_one_resumes(bucket_run, tmp_path):
    run = bucket_run("", "--config.checkpoint.keep=3")
    address = f"--config.devices.coordinator={free_address()}"
    flags = ("--config.devices.processes=2", address, "--config.devices.timeout_s=60")
    two = [run.start(*flags, f"--config.devices.process={i}", step_s=0.3) for i in range(2)]
    run.until(lambda: 4 in run.steps(), two[0])
    for process in two:
        process.kill()
    assert [ended(process)[0] for process in two] == [-9, -9]
    status, _, err = run.run(JAX_NUM_CPU_DEVICES="2")
    assert status == 0 and err == "", err
    assert run.steps()[-1] == STEPS and len(run.log()) == STEPS + 3
