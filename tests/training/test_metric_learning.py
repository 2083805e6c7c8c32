"""Runs that learn embeddings: what they refuse, their batches, and resuming exactly."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from support.process_jobs import Job, losses, records

from hpa_jax.config import Config, Data, Metric, Model, Train
from hpa_jax.data import pipeline
from hpa_jax.errors import InputError
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.training.experiment import Experiment
from hpa_jax.training.tasks import make_task
from hpa_jax.training.tasks.metric import MetricTask, image_classes


@pytest.fixture(scope="module")
def config(small_data):
    data = Data(data_dir=str(small_data), name="synthetic_32", image_size=32, batch_size=8)
    return Config(
        data=pipeline.resolve_labels(data),
        model=Model(name="densenet_tiny", head="arcface"),
        train=Train(task="metric"),
        metric=Metric(images_per_group=2, target="label_sets"),
    )


def with_values(config, **sections):
    """The configuration with `section={field: value}`."""
    changed = {}
    for section, values in sections.items():
        changed[section] = dataclasses.replace(getattr(config, section), **values)
    return dataclasses.replace(config, **changed)


def test_classes_follow_from_the_images_and_batches_have_k_of_each(config):
    dataset = MetricTask.open_sources(config)
    classes = image_classes(config, dataset)
    targets = dataset.targets()
    same_labels = (targets[:, None] == targets[None]).all(axis=2)
    np.testing.assert_array_equal(classes[:, None] == classes[None], same_labels)
    resolved = MetricTask.resolve(config, dataset)
    assert resolved.metric.num_classes == len(np.unique(classes)) == classes.max() + 1
    assert dataset[5]["class"] == classes[5] and dataset[5]["class"].dtype == np.int32
    order = MetricTask.make_order(resolved, dataset)
    batch = classes[order.epoch(0)[:8]]
    assert len(set(batch.tolist())) == 4
    np.testing.assert_array_equal(batch[::2], batch[1::2])
    of_groups = with_values(config, metric={"target": "groups"})
    np.testing.assert_array_equal(
        image_classes(of_groups, dataset),
        np.unique(dataset.groups(), return_inverse=True)[1],
    )
    contrastive = with_values(config, metric={"loss": "contrastive"})
    assert MetricTask.resolve(contrastive, dataset).metric.num_classes == 0


def test_what_does_not_go_together_is_refused_by_name(config):
    mesh = make_mesh(jax.devices()[:1])

    def refused(message, **sections):
        changed = with_values(config, **({"metric": {"num_classes": 5}} | sections))
        with pytest.raises(InputError, match=message):
            make_task(changed, mesh)

    refused(r"config.augment.mixup=0.2 does not go with", augment={"mixup": 0.2})
    refused(r"config.data.sampling='repeat_factor'", data={"sampling": "repeat_factor"})
    refused(r"config.train.retrain_head='runs/a'", train={"retrain_head": "runs/a"})
    refused(r"config.model.head='pooled' makes no embedding", model={"head": "pooled"})
    refused(
        r"batch_size=9 is no multiple of config.metric.images_per_group=2", data={"batch_size": 9}
    )
    refused(r"leave the weights out", data={"sources": ("synthetic_32", "other:2")})
    refused(r"num_classes=0: .* such as config.metric.num_classes=12815", metric={})
    with pytest.raises(InputError, match="choose one of retrieval_map, recall_at_1"):
        Experiment(config)
    # Eight images, of which no two have a label in common.
    few = with_values(config, metric={"relevance": "any_label"})
    dataset = MetricTask.open_split(few, "validation")
    with pytest.raises(InputError, match="no image of validation of synthetic_32 has one of its"):
        MetricTask.check_data(few, dataset, dataset)


FLAGS = (
    "--config=configs/metric.py",
    "--config.data.name=synthetic_32",
    "--config.data.batch_size=8",
    "--config.data.image_size=32",
    "--config.data.eval_split=all",
    "--config.model.name=densenet_tiny",
    "--config.optim.schedule=constant",
    "--config.train.eval_every=2",
    "--config.train.log_every=1",
)


def logged(workdir):
    """The records of metrics.jsonl without what the clock says."""
    kept = []
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name in ("images_per_sec", "data_wait", "goodput", "crc"):
            record.pop(name, None)
        kept.append(record)
    return kept


@pytest.mark.slow
def test_a_run_resumes_exactly_and_its_checkpoint_is_the_best_by_retrieval(
    run_quickly, small_data, tmp_path
):
    def trained(name, steps, *more):
        done = run_quickly(
            *FLAGS,
            f"--config.data.data_dir={small_data}",
            f"--workdir={tmp_path / name}",
            f"--config.train.steps={steps}",
            *more,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    out = trained("straight", 4)
    assert "densenet_tiny with embeddings of 512 values, arcface over 54 groups" in out
    assert "the best checkpoint is step" in out and "with retrieval_map 0." in out
    trained("resumed", 2)
    trained("resumed", 4)
    records = logged(tmp_path / "straight")
    assert records == logged(tmp_path / "resumed")
    evaluated = [record for record in records if record["split"] == "all"]
    assert [record["step"] for record in evaluated] == [2, 4]
    assert all(0 < record["retrieval_map"] < 1 for record in evaluated)
    kept = json.loads((tmp_path / "straight" / "config.json").read_text())
    assert kept["metric"]["num_classes"] == 54
    # Averaged weights, and labels in place of groups.
    out = trained(
        "contrastive",
        2,
        "--config.metric.loss=contrastive",
        "--config.metric.target=label_sets",
        "--config.metric.relevance=any_label",
        "--config.train.ema=0.9",
    )
    assert "contrastive, 0." in out


@pytest.mark.slow
def test_two_processes_learn_and_retrieve_what_one_does(compilation_cache, small_data, tmp_path):
    found = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        job = Job(
            compilation_cache,
            folder,
            count,
            *FLAGS,
            f"--config.data.data_dir={small_data}",
            "--config.model.dtype=float32",
            "--config.optim.lr=1e-4",
            "--config.train.steps=3",
        )
        for status, _, err in job.end():
            assert status == 0, err
        found[count] = list(losses(folder).values()), records(folder, "all")
    np.testing.assert_allclose(found[1][0], found[2][0], rtol=1e-4)
    (first, _), (second, _) = found[1][1], found[2][1]
    # Two images may change places where their cosines differ in the last digit.
    assert second["retrieval_map"] == pytest.approx(first["retrieval_map"], abs=0.02)
