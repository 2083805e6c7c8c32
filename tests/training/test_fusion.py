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
from hpa_jax.training.fusion import resolve_fusion
from hpa_jax.training.fusion_source import FusionSource
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
    resolved = resolve_fusion(fused_config(runs))
    assert resolved.fusion.parts == NETS
    # Where it is known already, the runs may be gone.
    gone = dataclasses.replace(resolved.fusion, runs="gone")
    assert resolve_fusion(dataclasses.replace(resolved, fusion=gone)).fusion == gone
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
            resolve_fusion(fused_config(runs, **changes))
        assert "\n" not in str(caught.value)
    for changes, message in (
        ({"data__image_size": 64}, "config.data.image_size=32, now 64"),
        ({"data__channel_mix": "rgb"}, "config.data.channel_mix='rgby', now 'rgb'"),
        ({"fusion__parts": ("resnet50",)}, "has runs of densenet_tiny, convnext_test, and"),
    ):
        with pytest.raises(InputError, match=message):
            FusionSource(resolve_fusion(fused_config(runs, **changes)), NOTHING, [])


def test_parts_that_have_seen_the_held_out_images_are_refused(runs):
    config = resolve_fusion(fused_config(runs))
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
            resolve_fusion(dataclasses.replace(config, fusion=section))


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
    )
    # Both parts have seen images red, green, blue, yellow as `small_run` reads them.
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
