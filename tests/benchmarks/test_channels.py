"""Filled-in channels: every image of a fold is scored by what the others gave."""

import json

import channels
import numpy as np
import pytest

from hpa_jax.data.catalog import load_dataset
from hpa_jax.evaluation.channel_figures import RAW, RIDGE, ChannelFigures
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import channel_baselines
from hpa_jax.metrics.image_similarity import pearson


def test_each_fold_is_scored_by_fits_on_the_others(small_data):
    dataset = load_dataset(small_data, "synthetic_32", split="validation")
    folds = np.arange(len(dataset)) % 2
    figures = ChannelFigures()
    order = channels.score_baselines(figures, dataset, folds, [0, 1])
    assert sorted(order) == list(range(len(dataset))) and (folds[order[:4]] == 0).all()
    rows = figures.rows(replicates=5)
    assert [row["method"] for row in rows] == [RIDGE, RAW] * len(channels.PAIRS)
    pair = channels.PAIRS[2]
    (row,) = (
        row
        for row in rows
        if (row["target"], row["sources"], row["method"]) == ("yellow", ["red", "blue"], RIDGE)
    )
    values = []
    images = [dataset.image(number) for number in range(len(dataset))]
    for number, image in enumerate(images):
        others = [other for k, other in enumerate(images) if folds[k] != folds[number]]
        sums = channel_baselines.total(map(channel_baselines.sums_of, others))
        predicted = channel_baselines.fit_ridge(sums, pair.target, pair.sources)(image)
        truth = image[..., [CHANNELS.index("yellow")]]
        values.append(pearson(predicted[..., None], truth)[0])
    assert row["pearson"] == pytest.approx(np.mean(values), abs=1e-6)


def test_an_unknown_part_and_a_missing_sample_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        channels.main(["--only=real,draw"])
    assert "'draw' is none of real, drawn, worth" in capsys.readouterr().err
    flags = [f"--sample_dir={tmp_path}", f"--folder={tmp_path}", "--only=real", "--no_net"]
    assert channels.main(flags) == 2
    assert "kaggle_512 is not there; give --sample_dir=DIR" in capsys.readouterr().err


@pytest.mark.slow
def test_all_parts_but_the_real_one_run(tmp_path, capsys):
    flags = ["--quick", "--only=drawn,worth", "--seeds=1", "--jobs=1"]
    rows_file = tmp_path / "rows.json"
    assert channels.main([*flags, f"--folder={tmp_path}", f"--json={rows_file}"]) == 0
    shown = capsys.readouterr().out
    assert "| yellow <- red, blue | net | " in shown
    assert "| channel dropout | ridge on blurred channels | " in shown
    rows = {row["name"]: row for row in json.loads(rows_file.read_text())}
    assert "pearson_over_ridge" in rows["channels_drawn_yellow_from_red_blue_net"]
    assert len(rows["channels_worth_all_channels_black"]["seeds"]) == 1
