"""Figures of filled-in channels: means, intervals, and what a method adds to the ridge."""

import numpy as np
import pytest

from hpa_jax.evaluation.channel_figures import NET, RIDGE, ChannelFigures, markdown
from hpa_jax.metrics.image_similarity import pearson
from hpa_jax.transforms.channel_subsets import Pair


def test_rows_hold_means_over_images_and_paired_differences():
    rng = np.random.default_rng(0)
    truth = rng.random((4, 12, 12)) * 255
    pair = Pair("yellow", ("red", "blue"))
    figures = ChannelFigures()
    values = {NET: [], RIDGE: []}
    for method, noise in ((NET, 40), (RIDGE, 200)):
        for image in truth:
            predicted = image + noise * rng.random(image.shape)
            figures.add(pair, method, predicted, image)
            values[method].append(pearson(predicted[..., None], image[..., None])[0])
    net, ridge = figures.rows(replicates=50)
    assert (net["target"], net["sources"], net["images"]) == ("yellow", ["red", "blue"], 4)
    assert net["pearson"] == pytest.approx(np.mean(values[NET]))
    assert net["pearson_p10"] == pytest.approx(np.quantile(values[NET], 0.1))
    difference = np.subtract(values[NET], values[RIDGE])
    assert net["pearson_over_ridge"] == pytest.approx(difference.mean())
    low, high = net["pearson_over_ridge_interval"]
    assert difference.min() <= low < high <= difference.max()
    assert "pearson_over_ridge" not in ridge
    table = markdown([net, ridge])
    assert "| yellow <- red, blue | net | 0." in table and len(table.splitlines()) == 4


def test_what_is_undefined_is_left_out():
    figures = ChannelFigures()
    pair = Pair("red", ("blue",))
    image = np.random.default_rng(1).random((12, 12))
    figures.add(pair, NET, np.zeros_like(image), image)
    figures.add(pair, NET, image, image)
    (row,) = figures.rows(replicates=5)
    assert row["pearson"] == pytest.approx(1) and np.isfinite(row["psnr"])
    only_equal = ChannelFigures()
    only_equal.add(pair, NET, image, image)
    (row,) = only_equal.rows(replicates=5)
    assert row["psnr"] is None and "| 1.000 (1.000 to 1.000) |" in markdown([row])
