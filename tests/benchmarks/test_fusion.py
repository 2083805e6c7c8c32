"""The benchmark of fused nets: its runs, its rows and its table."""

import argparse

import fusion
import fusion_runs
import hep2_recipes
import learning_recipes
import numpy as np
import pytest
from learning_statistics import t_interval

from hpa_jax.models import BACKBONES
from hpa_jax.recipes import parse


@pytest.fixture
def data():
    quick = learning_recipes.QUICK
    return fusion_runs.synthetic(quick), fusion_runs.hep2(hep2_recipes.QUICK, quick)


def test_parts_and_fused_runs_are_of_the_same_images(data, tmp_path):
    for of_data in data:
        parts = [of_data.make_part(net, 1) for net in fusion.QUICK_NETS]
        fused = of_data.fused(1, parts, tmp_path, bank=7)
        configs = []
        for run in (*parts, fused):
            configs.append(parse([f"--config={run.recipe}", "--workdir=none", *run.flags])[2])
            assert configs[-1].train.seed == 1
        *of_parts, config = configs
        for part in of_parts:
            for name in ("name", "image_size", "channel_mix"):
                assert getattr(part.data, name) == getattr(config.data, name)
        assert [part.model.name for part in of_parts][:2] == list(fusion.QUICK_NETS[:2])
        assert of_parts[2].train.task == "metric" and not parts[2].tta
        assert config.model.name == "fusion" and config.fusion.bank == 7
        assert config.fusion.runs == ",".join(str(tmp_path / part.name) for part in parts)
        alone = of_data.fused(1, parts, tmp_path, bank=0)
        assert alone.name != fused.name


def test_the_last_maps_of_all_parts_have_one_size():
    scale = learning_recipes.Scale()
    for of_data in (fusion_runs.synthetic(scale), fusion_runs.hep2(hep2_recipes.Scale(), scale)):
        sizes = set()
        for net in fusion.NETS:
            run = of_data.make_part(net, 0)
            config = parse([f"--config={run.recipe}", "--workdir=none", *run.flags])[2]
            backbone = BACKBONES[config.model.name]()
            sizes.add(backbone.feature_map_size(config.data.image_size))
        assert len(sizes) == 1, of_data.name


def test_differences_are_taken_seed_by_seed():
    by_seed = []
    for average, fused in ((0.3, 0.35), (0.5, 0.52), (0.4, 0.44)):
        by_seed.append(
            {"net": 0.2, fusion.AVERAGE: average, fusion.FUSED: fused, fusion.VOTED: 0.5}
        )
    rows = {row["title"]: row for row in fusion.make_rows("made", by_seed, [0.1, None, 0.3])}
    row = rows[fusion.FUSED]
    assert row["name"] == "fusion_made: fused" and row["peer_value"] == pytest.approx(0.4)
    assert row["difference"] == pytest.approx(np.mean([0.05, 0.02, 0.04]))
    np.testing.assert_allclose(row["difference_interval"], t_interval([0.05, 0.02, 0.04]))
    *_, last = fusion.markdown(list(rows.values())).splitlines()
    assert last.startswith(
        "| fused, with votes | 0.500 [0.500, 0.500] | 0.500 0.500 0.500 | +0.100"
    )
    assert last.endswith("| 0.10 0.30 |")
    # Of one seed there is no interval.
    (alone, *_) = fusion.make_rows("made", by_seed[:1], [None])
    assert "| 0.200 | 0.200 | -0.100 |" in fusion.markdown([alone])


def test_nets_are_known_and_some_of_them_have_scores():
    assert fusion._nets("resnet50,metric") == ("resnet50", "metric")
    for text in ("vgg", "metric", "resnet50,resnet50"):
        with pytest.raises(argparse.ArgumentTypeError):
            fusion._nets(text)


@pytest.mark.slow
def test_it_runs(run_benchmark, tmp_path):
    done = run_benchmark(
        "fusion.py", "--quick", "--seeds=1", "--data=synthetic", f"--folder={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    assert len(done.rows) == 5 and "fusion_synthetic: fused, with votes" in done.rows
