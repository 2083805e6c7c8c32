"""Runs with every option of training, as real processes: resuming, an early end, given weights."""

import contextlib
import hashlib
import json
import random
import signal
import time

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file
from support.made_runs import first_variables, restored_state

from hpa_jax.config import Config, from_dict, to_dict
from hpa_jax.data import pipeline
from hpa_jax.errors import InputError
from hpa_jax.main import main
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.recipes import parse
from hpa_jax.training import components, parts
from hpa_jax.workdir import claim, read_config

STEPS = 28
EVERY_OPTION = (
    *(f"--config.train.steps={STEPS}", "--config.train.eval_every=7", "--config.train.log_every=3"),
    *("--config.checkpoint.every=3", "--config.checkpoint.keep=20"),
    *(
        "--config.optim.name=adamw",
        "--config.optim.weight_decay=0.1",
        "--config.optim.clip=1",
        "--config.optim.lr=0.01",
        "--config.optim.schedule=cosine_onecycle",
    ),
    *(
        "--config.optim.accumulate=2",
        "--config.optim.backbone_lr=0.5",
        "--config.optim.freeze_backbone=5",
    ),
    *("--config.optim.plateau_patience=1", "--config.train.stop_after=9"),
    *(
        "--config.train.ema=0.9",
        "--config.train.ema_batches=3",
        "--config.train.loss=focal:0.5,lovasz,weighted:0.1,ldam:0.3",
        "--config.loss.ldam_reweight_after=0.5",
    ),
    "--config.data.sampling=class_balanced",
    *("--config.augment.mixup=0.4", "--config.augment.cutmix=1"),
    *(
        "--config.augment.protein_contrast=0.2",
        "--config.augment.contrast=0.2",
        "--config.augment.brightness=0.2",
    ),
)


@pytest.fixture(scope="module")
def start(start_recorded):
    return start_recorded


@pytest.fixture(scope="module")
def run(run_recorded):
    return run_recorded


def state_at(workdir, step):
    return jax.device_get(restored_state(workdir, step))


def lines(path):
    """The complete lines of a file that a process may be writing to."""
    if not path.exists():
        return []
    complete, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]


def differing(a, b):
    pairs = zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True)
    return [jax.tree_util.keystr(path) for (path, x), y in pairs if not np.array_equal(x, y)]


def variables_of_another_seed(flags):
    _, _, config = parse(
        [*flags, "--workdir=none", "--config.train.seed=5", "--config.data.image_size=32"]
    )
    return first_variables(config)


@pytest.fixture(scope="module")
def weights(small_run, tmp_path_factory):
    """A file of weights to start from."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(flatten_dict(variables_of_another_seed(small_run), sep="/"), path)
    return path


@pytest.fixture(scope="module")
def flags(small_run, weights):
    return (*small_run, *EVERY_OPTION, f"--config.model.pretrained={weights}")


@pytest.fixture(scope="module")
def uninterrupted(run, flags, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    done = run(*flags, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    (workdir / "stdout").write_text(done.stdout)
    return workdir


def test_a_run_with_every_option_that_is_killed_and_stopped_ends_as_one_that_was_not(
    start, run, flags, weights, uninterrupted, tmp_path
):
    """Nor does a run that resumes need the weights that it started from."""
    rng = random.Random(time.time_ns())
    flags, ids = (*flags, f"--workdir={tmp_path}"), tmp_path / "ids.jsonl"
    for number, last in ((signal.SIGKILL, 13), (signal.SIGTERM, 25)):
        process, goal = start(*flags), rng.randrange(last - 7, last)
        while process.poll() is None and len(lines(ids)) < goal:
            time.sleep(0.001)
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
        assert process.returncode == (75 if number == signal.SIGTERM else -number), err
    away = weights.rename(weights.with_name("away"))
    done = run(*flags)
    away.rename(weights)
    assert done.returncode == 0 and "resuming at step" in done.stdout, done.stderr
    assert "starting from" not in done.stdout

    assert differing(state_at(tmp_path, STEPS), state_at(uninterrupted, STEPS)) == []
    assert ids.read_text() == (uninterrupted / "ids.jsonl").read_text()
    evaluated, wanted = (
        [r for r in lines(w / "metrics.jsonl") if "loss" not in r]
        for w in (tmp_path, uninterrupted)
    )
    assert evaluated == wanted and [r["step"] for r in wanted] == [7, 14, 21, 28]


def assert_statistics_are_of_the_first_batches(config, average):
    """Computed again from the images themselves, as they are stored."""
    dataset = pipeline.open_sources(config.data)
    order = pipeline.make_order(config.data, dataset, config.train.seed)
    size = config.data.batch_size
    step = components.Setup(config, make_mesh()).make_statistics_step()
    variables = {"params": average.params, "batch_stats": average.batch_stats}
    found = []
    for batch in range(3):
        places = range(batch * size, (batch + 1) * size)
        images = np.stack([dataset[order[place]]["image"] for place in places])
        found.append(step(variables, {"image": images}))
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *found)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        mean,
        average.batch_stats,
    )


def test_every_option_was_at_work(uninterrupted, small_run):
    final, frozen, after = (state_at(uninterrupted, step) for step in (STEPS, 6, 9))
    assert final.progress.rate_scale < 1 and final.progress.best > 0
    assert int(final.average.updates) == int(final.opt_state.gradient_step) == STEPS // 2
    assert len(differing(final.average.params, final.params)) > 10
    assert len(differing(final.average.batch_stats, final.batch_stats)) > 10
    first = variables_of_another_seed(small_run)["params"]["backbone"]  # those of the file
    assert not differing(frozen.params["backbone"], first)
    assert len(differing(after.params["backbone"], first)) > 10
    assert_statistics_are_of_the_first_batches(read_config(uninterrupted), final.average)
    record = lines(uninterrupted / "metrics.jsonl")
    rates = {r["step"]: r["lr"] for r in record if r["split"] == "train"}
    scale = {r["step"]: r for r in record if r["split"] == "validation"}
    schedule = parts.make_learning_rate(read_config(uninterrupted).optim, STEPS)
    assert rates[3] == schedule(2) == schedule(3) != schedule(1) and rates[STEPS] == pytest.approx(
        schedule(STEPS - 1) * float(state_at(uninterrupted, STEPS - 1).progress.rate_scale)
    )
    assert all(
        {"macro_average_precision", "samples_f1"} <= metrics.keys() for metrics in scale.values()
    )


def test_training_ends_early_and_stays_ended(run, flags, tmp_path):
    """After step 3 at the latest, which only accumulates: its metric is that of step 2."""
    flags = (
        *flags,
        "--config.train.stop_after=1",
        "--config.train.eval_every=1",
        f"--workdir={tmp_path}",
    )
    ended = run(*flags)
    assert ended.returncode == 0, ended.stderr
    found = [r["macro_f1"] for r in lines(tmp_path / "metrics.jsonl") if r["split"] == "validation"]
    assert len(found) in (2, 3) and found[-1] <= found[-2] and found[:-1] == sorted(set(found[:-1]))
    assert "1 evaluations without a better macro_f1: training ends here" in ended.stdout
    assert (tmp_path / "thresholds.json").exists()
    before = (tmp_path / "ids.jsonl").read_text()
    again = run(*flags)
    assert (
        again.returncode == 0
        and "training ends here" in again.stdout
        and "finished" in again.stdout
    )
    assert (tmp_path / "ids.jsonl").read_text() == before and len(before.splitlines()) == len(found)


def test_given_weights_are_logged_and_recorded(uninterrupted, weights):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert json.loads((uninterrupted / "pretrained.json").read_text())["sha256"] == digest
    logged = (uninterrupted / "stdout").read_text()
    assert "starting from" in logged and digest[:8] in logged


def test_given_weights_that_lack_an_array_are_refused_and_leave_no_run(small_run, tmp_path, capsys):
    some = dict(list(flatten_dict(variables_of_another_seed(small_run), sep="/").items())[1:])
    save_file(some, tmp_path / "weights.safetensors")
    workdir = tmp_path / "run"
    flags = (
        *small_run,
        f"--config.model.pretrained={tmp_path / 'weights.safetensors'}",
        f"--workdir={workdir}",
    )
    assert main(list(flags)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "missing" in error and len(error.splitlines()) == 1
    assert not (workdir / "config.json").exists()


def test_the_metric_may_change_unless_a_run_s_progress_is_one_of_it(tmp_path):
    config = Config()
    for patience, allowed in ((0, True), (2, False)):
        config.optim.plateau_patience = patience
        (tmp_path / str(patience)).mkdir()
        claim(tmp_path / str(patience), config)
        other = from_dict(to_dict(config))
        other.checkpoint.metric = "macro_average_precision"
        with (
            contextlib.nullcontext()
            if allowed
            else pytest.raises(InputError, match=r"config\.checkpoint\.metric")
        ):
            claim(tmp_path / str(patience), other)
