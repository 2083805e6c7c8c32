"""A new head on the backbone of a finished run: what moves, what is refused, and resuming."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from support.made_runs import made_run, restored_state, started_run

from hpa_jax.data import pipeline
from hpa_jax.data.identity import id_hashes
from hpa_jax.errors import InputError
from hpa_jax.models import create_model, init_variables
from hpa_jax.optim.optimizer import make_optimizer
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.training.retraining import BackboneSource
from hpa_jax.workdir import read_config, read_learned_ids

SHAPE = (32, 32, 4)


def of_backbone(tree):
    return flatten_dict(tree["backbone"], sep="/")


@pytest.mark.slow
def test_a_frozen_backbone_does_what_it_does_in_evaluation():
    model = create_model(
        "densenet_tiny", num_labels=3, dropout=0.5, dtype="float32", frozen_backbone=True
    )
    variables = init_variables(model, SHAPE, seed=0)
    images = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)

    def total(params, images):
        logits, updates = model.apply(
            variables | {"params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return (logits**2).sum(), updates["batch_stats"]

    gradients, statistics = jax.jit(jax.grad(total, has_aux=True))(variables["params"], images)
    assert not any(leaf.any() for leaf in of_backbone(gradients).values())
    jax.tree.map(
        np.testing.assert_array_equal,
        of_backbone(statistics),
        of_backbone(variables["batch_stats"]),
    )
    assert all(leaf.any() for leaf in jax.tree.leaves(gradients["head"]["logits"]))
    before = jax.tree.leaves(variables["batch_stats"]["head"])
    after = jax.tree.leaves(statistics["head"])
    assert not any(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_optimizer_of_a_head_leaves_the_backbone_and_keeps_nothing_for_it(name):
    decay = {"weight_decay": 0.5} if name == "adamw" else {}
    settings = {"b1": 0.9, "b2": 0.99, "eps": 1e-7, "clip": 1.0, **decay}
    rate = optax.constant_schedule(0.1)
    params = {"backbone": {"kernel": np.ones(5, np.float32)}, "head": {"kernel": np.ones(3)}}
    gradients = jax.tree.map(np.ones_like, params)
    gradients["backbone"]["kernel"] *= 0
    optimizer = make_optimizer(name, rate, only_head=True, **settings)
    state = optimizer.init(params)
    assert not any(np.shape(leaf) == (5,) for leaf in jax.tree.leaves(state))
    updates, _ = optimizer.update(gradients, state, params)
    assert not updates["backbone"]["kernel"].any()
    # The head moves as it does where all learn.
    plain = make_optimizer(name, rate, **settings)
    expected, _ = plain.update(gradients, plain.init(params), params)
    np.testing.assert_allclose(updates["head"]["kernel"], expected["head"]["kernel"], rtol=1e-6)


@pytest.fixture(scope="module")
def source(small_data, tmp_path_factory):
    """A run that has begun, and its resolved configuration."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    config, _ = started_run(workdir, small_data)
    return workdir, config


def retrained(source, **changes):
    """The configuration of a run on the same data that re-trains the head of `source`."""
    workdir, config = source
    train = dataclasses.replace(config.train, retrain_head=str(workdir))
    sections = {"train": train}
    for name, value in changes.items():
        section, field = name.split("__")
        current = sections.get(section, getattr(config, section))
        sections[section] = dataclasses.replace(current, **{field: value})
    return dataclasses.replace(config, **sections)


def test_what_a_backbone_is_not_for_is_refused(source, tmp_path):
    nothing = np.zeros(0, np.uint64)
    cases = [
        ({"model__name": "densenet_small"}, "config.model.name='densenet_tiny', now"),
        ({"data__channel_mix": "rgb"}, "config.data.channel_mix='rgby', now 'rgb'"),
        ({"data__image_size": 64}, "config.data.image_size=32, now 64"),
        ({"model__pretrained": "weights"}, "config.model.pretrained='weights'"),
        ({"train__retrain_head": str(tmp_path)}, "holds no run"),
    ]
    for changes, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            BackboneSource(retrained(source, **changes), nothing, [])
        assert "config.train.retrain_head=" in str(caught.value)
        assert "\n" not in str(caught.value)
    # Another head is what it is for.
    found = BackboneSource(retrained(source, model__head="linear"), nothing, [])
    with pytest.raises(InputError, match=r"config\.train\.retrain_head=.* has no checkpoint yet"):
        found.load({}, make_mesh())


def test_a_backbone_that_has_seen_the_held_out_images_is_refused(source):
    config = retrained(source)
    seen = pipeline.open_sources(config.data).ids()[:2]
    nothing = np.zeros(0, np.uint64)
    with pytest.raises(InputError, match="has learnt from 2 of the 3 images of validation"):
        BackboneSource(config, nothing, ["new", *seen])
    # A run that is told to learn from them itself may.
    found = BackboneSource(config, id_hashes(seen), ["new", *seen])
    np.testing.assert_array_equal(found.learned, read_learned_ids(source[0]))


@pytest.mark.slow
def test_only_the_head_learns_and_a_run_that_resumes_ends_as_one_that_was_not_stopped(
    run, small_run, small_data, tmp_path
):
    folder = tmp_path / "source"
    made_run(folder, small_data)
    flags = (
        *small_run,
        f"--config.train.retrain_head={folder}",
        "--config.data.sampling=class_balanced",
        "--config.train.ema=0.9",
        "--config.train.ema_batches=2",
        "--config.optim.name=adamw",
        "--config.optim.weight_decay=0.1",
        "--config.train.eval_every=2",
    )
    whole = run(*flags, "--config.train.steps=6", f"--workdir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr
    assert f"starting from {folder} (checkpoints/1, " in whole.stdout
    assert json.loads((tmp_path / "whole" / "pretrained.json").read_text())["layout"] == "run"

    before = restored_state(folder, 1)
    after = restored_state(tmp_path / "whole", 6)
    for state in (after, after.average):
        for name, values in of_backbone(state.params).items():
            np.testing.assert_array_equal(values, of_backbone(before.params)[name])
        for name, values in of_backbone(state.batch_stats).items():
            expected = of_backbone(before.batch_stats)[name]
            np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert not np.array_equal(
        after.params["head"]["logits"]["kernel"], before.params["head"]["logits"]["kernel"]
    )
    learned = read_learned_ids(tmp_path / "whole")
    assert np.isin(read_learned_ids(folder), learned).all()

    damaged = shutil.copytree(folder, tmp_path / "damaged")
    for path in damaged.glob("checkpoints/1/**/d/*"):
        path.write_bytes(path.read_bytes()[::-1])
    refused = run(*flags, f"--config.train.retrain_head={damaged}", f"--workdir={tmp_path}/refused")
    assert refused.returncode == 2
    assert "its best checkpoint" in refused.stderr
    assert "evaluate.checkpoint" not in refused.stderr
    assert not (tmp_path / "refused" / "config.json").exists()

    part = run(*flags, "--config.train.steps=2", f"--workdir={tmp_path}/part")
    assert part.returncode == 0, part.stderr
    away = folder.rename(folder.with_name("away"))
    done = run(*flags, "--config.train.steps=6", f"--workdir={tmp_path}/part")
    away.rename(folder)
    assert done.returncode == 0, done.stderr
    assert "resuming at step 2" in done.stdout
    jax.tree.map(np.testing.assert_array_equal, restored_state(tmp_path / "part", 6), after)
    assert read_config(tmp_path / "part").train.retrain_head == str(folder)
