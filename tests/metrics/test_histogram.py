"""Histograms of scores: exact at every threshold, blind to padding, the same on eight devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from support.score_cases import counts_of, edge_case

from hpa_jax.metrics import histogram

GRID = histogram.threshold_grid()


@pytest.mark.parametrize("bins", [2, 10, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decisions_at_every_threshold_are_score_above_threshold(bins, dtype):
    grid = histogram.threshold_grid(bins)
    own = grid.astype(dtype)
    scores = np.concatenate(
        [own, np.nextafter(own, dtype(2)), np.nextafter(own, dtype(-1)), [0, 1]]
    ).astype(dtype)
    above = histogram.bin_scores(scores, grid)[:, None] > np.arange(bins + 1)
    np.testing.assert_array_equal(above, scores[:, None] > own)


def test_device_bins_equal_host_bins_in_float32():
    scores, _ = edge_case(64, 28, 4)
    scores[:4] = np.nextafter(GRID[:112].astype(np.float32), np.float32(1)).reshape(4, 28)
    scores[0, 0] = 1e-30
    found = jax.jit(lambda s: histogram.bin_scores(s, GRID))(jnp.asarray(scores))
    np.testing.assert_array_equal(found, histogram.bin_scores(scores, GRID))


def test_float64_scores_keep_their_precision():
    scores = np.array([[0.5, 0.5 + 1e-9, 0.5 - 1e-9]])
    np.testing.assert_array_equal(histogram.bin_scores(scores, GRID), [[500, 501, 500]])
    np.testing.assert_array_equal(
        histogram.bin_scores(scores.astype(np.float32), GRID), [[500, 500, 500]]
    )


def test_nan_is_above_no_threshold():
    assert histogram.bin_scores(np.array([np.nan]), GRID) == 0
    assert histogram.bin_scores(jnp.array([jnp.nan]), GRID) == 0


def test_grid_holds_one_half_and_decimal_fractions():
    assert GRID[500] == 0.5 and GRID[300] == 0.3 and len(GRID) == 1001
    with pytest.raises(ValueError, match="even"):
        histogram.threshold_grid(999)


def test_padded_rows_count_nowhere():
    scores, targets = edge_case(37, 6, 5)
    bin_index = histogram.bin_scores(scores, GRID)
    count = jax.jit(histogram.score_counts)
    padded_idx = np.concatenate([bin_index, np.full((11, 6), 700, np.int32)])
    padded_targets = np.concatenate([targets, np.ones((11, 6), np.uint8)])
    order = np.random.default_rng(0).permutation(48)  # padding need not stand at the end
    padded = count(padded_idx[order], padded_targets[order], (np.arange(48) < 37)[order])
    jax.tree.map(np.testing.assert_array_equal, padded, count(bin_index, targets))
    empty = count(bin_index, targets, np.zeros(37, bool))
    assert not np.any(empty.positives) and not np.any(empty.negatives)


def test_counts_add_up_over_batches_and_chunks(monkeypatch):
    scores, targets = edge_case(300, 7, 6)
    bin_index = histogram.bin_scores(scores, GRID)
    at_once = histogram.score_counts(bin_index, targets)
    assert at_once.positives.dtype == jnp.int32 and at_once.positives.shape == (7, 1002)
    np.testing.assert_array_equal(at_once.positives.sum(-1), targets.sum(0))
    np.testing.assert_array_equal(at_once.negatives.sum(-1), 300 - targets.sum(0))
    parts = [
        histogram.score_counts(bin_index[i : i + 90], targets[i : i + 90])
        for i in range(0, 300, 90)
    ]
    jax.tree.map(np.testing.assert_array_equal, sum(parts[1:], parts[0]), at_once)
    monkeypatch.setattr(histogram, "CHUNK_ROWS", 64)
    jax.tree.map(np.testing.assert_array_equal, counts_of(scores, targets), at_once)


def test_groups_are_counted_apart():
    scores, targets = edge_case(200, 5, 7)
    group = np.random.default_rng(7).integers(0, 3, 200)
    grouped = histogram.count_arrays(scores, targets, group, groups=3)
    for k in range(3):
        alone = counts_of(scores[group == k], targets[group == k])
        jax.tree.map(lambda a, b, k=k: np.testing.assert_array_equal(a[k], b), grouped, alone)


def mesh_of_eight():
    assert jax.device_count() == 8
    return jax.make_mesh((8, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)


def test_sharded_counts_are_bitwise_the_unsharded_and_only_integers_are_reduced():
    scores, targets = edge_case(64, 28, 8)
    mask = np.arange(64) < 59

    def count(scores, targets, mask):
        return histogram.score_counts(histogram.bin_scores(scores, GRID), targets, mask)

    alone = jax.jit(count)(*jax.device_put((scores, targets, mask), jax.devices()[0]))
    mesh = mesh_of_eight()
    batch = jax.device_put((scores, targets, mask), NamedSharding(mesh, P("data")))
    compiled = jax.jit(count, out_shardings=NamedSharding(mesh, P())).lower(*batch).compile()
    sharded = compiled(*batch)
    jax.tree.map(np.testing.assert_array_equal, sharded, alone)
    assert len(sharded.positives.sharding.device_set) == 8 and sharded.positives.is_fully_replicated

    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    collective = rf"= (\S.*?) ({kinds})(?:-start)?\("
    found = re.findall(collective, compiled.as_text())
    assert [kind for _, kind in found] == ["all-reduce"]
    assert re.findall(r"\b[a-z]+\d+(?=\[)", found[0][0]) == ["s32"] * len(
        re.findall(r"\[", found[0][0])
    )


def test_arrays_are_counted_alike_on_eight_devices(monkeypatch):
    monkeypatch.setattr(histogram, "CHUNK_ROWS", 100)  # not a multiple of eight: rounded up
    scores, targets = edge_case(777, 6, 9)
    sharded = counts_of(scores, targets, mesh=mesh_of_eight())
    jax.tree.map(np.testing.assert_array_equal, sharded, counts_of(scores, targets))


def test_one_compilation_serves_arrays_of_any_length():
    histogram._accumulator.cache_clear()
    for images in (1, 50, 5000):
        histogram.count_arrays(*edge_case(images, 4, images))
    assert histogram._accumulator(1, histogram.BINS, None)._cache_size() == 1
