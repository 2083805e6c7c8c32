"""A fused net of finished runs: what is taken, what is refused, and that it needs them once."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from support.drawn_variables import drawn_state
from support.made_runs import first_variables, made_run, restored_state, started_run

from hpa_jax.data import pipeline
from hpa_jax.errors import InputError
from hpa_jax.models import part_names
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.training import parts
from hpa_jax.training.fusion import resolve_fusion
from hpa_jax.training.fusion_source import FusionSource
from hpa_jax.training.vote_bank import choose_images
from hpa_jax.transforms.augment import prepare
from hpa_jax.transforms.normalize import preparation
from hpa_jax.workdir import read_config, read_learned_ids

NETS = ("densenet_tiny", "convnext_test")
NAMES = part_names(NETS)
NOTHING = np.zeros(0, np.uint64)


@pytest.fixture(scope="module")
def runs(small_data, tmp_path_factory):
    """Two runs that have begun, by their nets."""
    folder = tmp_path_factory.mktemp("runs")
    for net in NETS:
        started_run(folder / net, small_data, model__name=net)
    return folder


def fused_config(runs, **changes):
    """The configuration of a net of both, on their data, not resolved."""
    config = read_config(runs / NETS[0])
    folders = ",".join(str(runs / net) for net in NETS)
    changes = {"model__name": "fusion", "model__head": "fusion", "fusion__runs": folders} | changes
    for name, value in changes.items():
        section, field = name.split("__")
        changed = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: changed})
    return config


def test_what_the_nets_are_is_resolved_and_what_does_not_fit_is_refused(runs, tmp_path):
    resolved = resolve_fusion(fused_config(runs), 54)
    assert resolved.fusion.parts == NETS and resolved.fusion.images == 54
    assert resolve_fusion(fused_config(runs, fusion__bank=9), 54).fusion.images == 9
    # Where it is known already, the runs may be gone.
    gone = dataclasses.replace(resolved.fusion, runs="gone")
    assert resolve_fusion(dataclasses.replace(resolved, fusion=gone), 54).fusion == gone
    for changes, message in (
        ({"fusion__runs": ""}, "'fusion' has no parts; give config.fusion.runs"),
        ({"fusion__runs": str(tmp_path)}, "config.fusion.runs='.*' holds no run"),
        ({"model__head": "linear"}, "config.model.head='linear': .* takes 'fusion'"),
        ({"model__pretrained": "weights"}, "config.model.pretrained='weights' is not for"),
        ({"model__tile": 32}, "config.model.tile=32 is not for"),
        ({"model__block": "remat"}, "config.model.block='remat' is not for"),
        ({"train__retrain_head": "run"}, "config.train.retrain_head='run' is not for"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            resolve_fusion(fused_config(runs, **changes), 54)
        assert "\n" not in str(caught.value)
    for changes, message in (
        ({"data__image_size": 64}, "config.data.image_size=32, now 64"),
        ({"data__channel_mix": "rgb"}, "config.data.channel_mix='rgby', now 'rgb'"),
        ({"fusion__parts": ("resnet50",)}, "has runs of densenet_tiny, convnext_test, and"),
    ):
        with pytest.raises(InputError, match=message):
            FusionSource(resolve_fusion(fused_config(runs, **changes), 54), NOTHING, [])


def test_parts_that_have_seen_the_held_out_images_are_refused(runs):
    config = resolve_fusion(fused_config(runs), 54)
    seen = pipeline.open_sources(config.data).ids()[:2]
    with pytest.raises(InputError, match="has learnt from 2 of the 3 images of validation"):
        FusionSource(config, NOTHING, ["new", *seen])
    source = FusionSource(config, NOTHING, ["new"])
    np.testing.assert_array_equal(source.learned, read_learned_ids(runs / NETS[0]))
    with pytest.raises(InputError, match=r"config\.fusion\.runs=.* has no checkpoint yet"):
        source.load(first_variables(config), make_mesh())


def test_parts_of_other_kinds_are_refused(small_data, tmp_path):
    started_run(tmp_path / "tiled", small_data, model__tile=32, model__head="attention")
    fused = {"model__name": "fusion", "model__head": "fusion", "fusion__parts": ("densenet_tiny",)}
    started_run(tmp_path / "fused", small_data, **fused)
    for name, message in (
        ("tiled", "sees images tile by tile"),
        ("fused", "is a run of config.model.name='fusion'; give its parts"),
    ):
        config = read_config(tmp_path / "fused")
        section = dataclasses.replace(config.fusion, runs=str(tmp_path / name), parts=())
        with pytest.raises(InputError, match=message):
            resolve_fusion(dataclasses.replace(config, fusion=section), 54)


@pytest.mark.slow
def test_only_the_head_learns_and_the_runs_are_needed_once(run, small_run, small_data, tmp_path):
    for net in NETS:
        made_run(tmp_path / net, small_data, model__name=net, changed=drawn_state)
    folders = ",".join(str(tmp_path / net) for net in NETS)
    flags = (
        *small_run,
        "--config=configs/fusion.py",
        "--config.data.image_size=32",
        "--config.model.dtype=float32",
        "--config.data.sampling=uniform",
        f"--config.fusion.runs={folders}",
        "--config.model.name=fusion",
        "--config.train.eval_every=2",
        "--config.train.ema=0.9",
        "--config.train.ema_batches=1",
        "--config.fusion.bank=20",
        "--config.fusion.neighbours=5",
    )
    whole = run(*flags, "--config.train.steps=4", f"--workdir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr
    assert "densenet_tiny and convnext_test fused" in whole.stdout
    assert "from 2 files" in whole.stdout
    assert json.loads((tmp_path / "whole" / "pretrained.json").read_text())["layout"] == "runs"

    after = restored_state(tmp_path / "whole", 4)
    for net, name in zip(NETS, NAMES, strict=True):
        before = restored_state(tmp_path / net, 1)
        for collection in ("params", "batch_stats"):
            own = getattr(before, collection).get("backbone", {})
            kept = getattr(after, collection)["backbone"].get(name, {})
            jax.tree.map(np.testing.assert_array_equal, kept, own)
    check_bank(tmp_path / "whole", after)
    learned = read_learned_ids(tmp_path / "whole")
    assert np.isin(read_learned_ids(tmp_path / NETS[0]), learned).all()

    part = run(*flags, "--config.train.steps=2", f"--workdir={tmp_path}/part")
    assert part.returncode == 0, part.stderr
    for net in NETS:
        (tmp_path / net).rename(tmp_path / f"{net}_away")
    done = run(*flags, "--config.train.steps=4", f"--workdir={tmp_path}/part")
    assert done.returncode == 0, done.stderr
    assert "resuming at step 2" in done.stdout
    jax.tree.map(np.testing.assert_array_equal, restored_state(tmp_path / "part", 4), after)
    exported = run("--mode=export", f"--workdir={tmp_path}/part")
    assert exported.returncode == 0, exported.stderr
    flags = ("--mode=evaluate", f"--workdir={tmp_path}/part", "--config.evaluate.replicates=0")
    held_out = run(*flags)
    assert held_out.returncode == 0 and "no votes are counted" not in held_out.stdout
    assert "votes of neighbours weigh" in held_out.stdout
    # On images of the bank each would vote for itself.
    learnt = run(*flags, "--config.data.eval_split=train")
    assert "learnt from 54 of these 54 images" in learnt.stdout
    assert "no votes are counted here" in learnt.stdout
    refused = run("--mode=export", f"--workdir={tmp_path}/part", "--config.export.temperature=True")
    assert refused.returncode == 2 and "config.fusion.bank=20" in refused.stderr


def check_bank(workdir, state):
    """That the bank has embeddings of its images, and that its votes have been weighed."""
    config = read_config(workdir)
    dataset = pipeline.open_sources(config.data)
    bank = jax.device_get(state.params["backbone"]["bank"])
    places = choose_images(dataset.targets(), 20, config.train.seed)
    np.testing.assert_array_equal(bank["targets"], dataset.targets()[places])
    images = np.stack([dataset[int(place)]["image"] for place in places])
    prepared = prepare(images, **preparation(config.data))
    model = parts.make_net(config)
    variables = jax.device_get({"params": state.params, "batch_stats": state.batch_stats})
    features = model.apply(variables, prepared, train=False, method="features")
    embeddings = np.asarray(features).mean(axis=(1, 2))
    np.testing.assert_allclose(bank["mean"], embeddings.mean(axis=0), atol=1e-5)
    moved = embeddings - embeddings.mean(axis=0)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(bank["embeddings"], moved, atol=1e-3)

    manifest = json.loads((workdir / "checkpoints" / "4" / "manifest.json").read_text())
    votes = manifest["metrics"]["votes"]
    assert 0 <= votes["weight"] <= 1 and len(votes["by_fold"]) == 5
    np.testing.assert_allclose(bank["weight"], [votes["weight"]], rtol=1e-6)
    # The averaged weights are what is evaluated and exported.
    np.testing.assert_array_equal(
        state.average.params["backbone"]["bank"]["weight"], bank["weight"]
    )


def test_the_bank_keeps_images_of_every_label():
    rng = np.random.default_rng(0)
    targets = (rng.random((400, 5)) < [0.6, 0.3, 0.1, 0.01, 0.005]).astype(np.uint8)
    found = choose_images(targets, 40, seed=0)
    np.testing.assert_array_equal(found, choose_images(targets, 40, seed=0))
    assert len(set(found.tolist())) == 40 and (np.diff(found) > 0).all()
    # All of the rare ones, and of the others about as many each.
    np.testing.assert_array_equal(targets[found].sum(0)[3:], targets.sum(0)[3:])
    assert (targets[found].sum(0)[:3] >= 8).all()
    assert not targets[found].any(axis=1).all()
    np.testing.assert_array_equal(choose_images(targets, 400, seed=0), np.arange(400))
