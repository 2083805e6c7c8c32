"""F1 from histograms: equal to scikit-learn, blind to padding, and the same on one device as on eight."""

import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)

from hpa_jax.metrics import classification

GRID = classification.thresholds()


def random_case(fields, labels, seed, dtype=np.float32):
    """Scores with many 0.5 and its float neighbours; labels without positives, without predictions, without both."""
    rng = np.random.default_rng(seed)
    scores = rng.random((fields, labels)).astype(dtype)
    half = dtype(0.5)
    edge = np.array([half, np.nextafter(half, dtype(1)), np.nextafter(half, dtype(0)), 0, 1], dtype)
    scores = np.where(rng.random(scores.shape) < 0.3, rng.choice(edge, scores.shape), scores)
    targets = (rng.random(scores.shape) < rng.random(labels)).astype(np.uint8)
    targets[:, 0] = 0
    scores[:, 1] = 0.25
    targets[:, 2], scores[:, 2] = 0, 0.25
    targets[:, 3], scores[:, 3] = 1, 0.75
    return scores, targets


def counts_of(scores, targets, **kwargs):
    return jax.tree.map(lambda a: a[0], classification.count_arrays(scores, targets, **kwargs))


def assert_equals_sklearn(found, scores, targets):
    predicted = (scores > 0.5).astype(int)
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, average=None, zero_division=0
    )
    expected = {"precision": precision, "recall": recall, "f1": f1, "support": support}
    for name, value in expected.items():
        np.testing.assert_allclose(found["per_label"][name], value, atol=1e-12, err_msg=name)
    for average in ("macro", "micro"):
        for name, score in (
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            value = score(targets, predicted, average=average, zero_division=0)
            assert found[f"{average}_{name}"] == pytest.approx(value, abs=1e-12), (average, name)
    assert found["accuracy"] == pytest.approx(
        accuracy_score(targets.ravel(), predicted.ravel()), abs=1e-12
    )
    assert found["macro_f1_present"] == pytest.approx(
        f1[support > 0].mean() if support.any() else 0, abs=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("fields", "labels", "seed"), [(1, 5, 0), (64, 28, 1), (5000, 9, 2)])
def test_figures_equal_scikit_learn(fields, labels, seed, dtype):
    scores, targets = random_case(fields, labels, seed, dtype)
    assert_equals_sklearn(classification.figures(counts_of(scores, targets)), scores, targets)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_average_precision_equals_scikit_learn_on_scores_in_steps(dtype):
    scores, targets = random_case(3000, 7, 11, dtype)
    counts = counts_of(scores, targets)
    stepped = classification.bin_of(scores, GRID)  # the scores of a bin are ties
    expected = [
        average_precision_score(targets[:, i], stepped[:, i])
        for i in range(7)
        if targets[:, i].any()
    ]
    found = classification.average_precision(counts)
    np.testing.assert_array_equal(np.isnan(found), ~targets.any(0))
    np.testing.assert_allclose(found[~np.isnan(found)], expected, atol=1e-12)
    assert classification.figures(counts)["macro_average_precision"] == pytest.approx(
        np.mean(expected), abs=1e-12
    )
    assert set(classification.figures(counts)) == {*classification.FIGURES, "per_label"}
    assert classification.figures(counts_of(scores, 0 * targets))["macro_average_precision"] == 0


def test_samples_f1_equals_scikit_learn():
    scores, targets = random_case(500, 5, 12)
    targets[:100], scores[:50] = 0, 0.1  # fields that bear nothing and are given nothing
    predicted = scores > 0.5
    expected = f1_score(targets, predicted, average="samples", zero_division=0)
    assert classification.samples_f1(predicted, targets > 0) == pytest.approx(expected, abs=1e-12)


def test_figures_without_a_single_prediction_or_positive():
    _, targets = random_case(50, 6, 3)
    silent = np.full(targets.shape, 0.5, np.float32)  # 0.5 is not above 0.5
    found = classification.figures(counts_of(silent, targets))
    assert found["macro_f1"] == found["micro_f1"] == found["macro_precision"] == 0
    assert_equals_sklearn(found, silent, targets)
    found = classification.figures(counts_of(silent, np.zeros_like(targets)))
    assert found["macro_f1"] == found["macro_f1_present"] == 0 and found["accuracy"] == 1


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_figures_equal_scikit_learn_on_a_real_models_predictions():
    folder = Path(os.environ["HPA_SAMPLE_DIR"]) / "predictions"
    scores, targets = (
        np.load(folder / "val_scores_inception_224.npy"),
        np.load(folder / "val_targets.npy"),
    )
    found = classification.figures(counts_of(scores, targets))
    assert_equals_sklearn(found, scores, targets)
    assert found["macro_f1"] == pytest.approx(0.3960075698619449, abs=1e-12)
    assert found["micro_f1"] == pytest.approx(0.6039942351245625, abs=1e-12)


@pytest.mark.parametrize("bins", [2, 10, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decisions_at_every_threshold_are_score_above_threshold(bins, dtype):
    grid = classification.thresholds(bins)
    own = grid.astype(dtype)
    scores = np.concatenate(
        [own, np.nextafter(own, dtype(2)), np.nextafter(own, dtype(-1)), [0, 1]]
    ).astype(dtype)
    above = classification.bin_of(scores, grid)[:, None] > np.arange(bins + 1)
    np.testing.assert_array_equal(above, scores[:, None] > own)


def test_device_bins_equal_host_bins_in_float32():
    scores, _ = random_case(64, 28, 4)
    scores[:4] = np.nextafter(GRID[:112].astype(np.float32), np.float32(1)).reshape(4, 28)
    scores[0, 0] = 1e-30
    found = jax.jit(lambda s: classification.bin_of(s, GRID))(jnp.asarray(scores))
    np.testing.assert_array_equal(found, classification.bin_of(scores, GRID))


def test_float64_scores_keep_their_precision():
    scores = np.array([[0.5, 0.5 + 1e-9, 0.5 - 1e-9]])
    np.testing.assert_array_equal(classification.bin_of(scores, GRID), [[500, 501, 500]])
    np.testing.assert_array_equal(
        classification.bin_of(scores.astype(np.float32), GRID), [[500, 500, 500]]
    )


def test_nan_is_above_no_threshold():
    assert classification.bin_of(np.array([np.nan]), GRID) == 0
    assert classification.bin_of(jnp.array([jnp.nan]), GRID) == 0


def test_grid_holds_one_half_and_decimal_fractions():
    assert GRID[500] == 0.5 and GRID[300] == 0.3 and len(GRID) == 1001
    with pytest.raises(ValueError, match="even"):
        classification.thresholds(999)


def test_padded_rows_count_nowhere():
    scores, targets = random_case(37, 6, 5)
    bins_idx = classification.bin_of(scores, GRID)
    count = jax.jit(classification.score_counts)
    padded_idx = np.concatenate([bins_idx, np.full((11, 6), 700, np.int32)])
    padded_targets = np.concatenate([targets, np.ones((11, 6), np.uint8)])
    order = np.random.default_rng(0).permutation(48)  # padding need not stand at the end
    padded = count(padded_idx[order], padded_targets[order], (np.arange(48) < 37)[order])
    jax.tree.map(np.testing.assert_array_equal, padded, count(bins_idx, targets))
    empty = count(bins_idx, targets, np.zeros(37, bool))
    assert not np.any(empty.positives) and not np.any(empty.negatives)


def test_counts_add_up_over_batches_and_chunks(monkeypatch):
    scores, targets = random_case(300, 7, 6)
    bins_idx = classification.bin_of(scores, GRID)
    whole = classification.score_counts(bins_idx, targets)
    assert whole.positives.dtype == jnp.int32 and whole.positives.shape == (7, 1002)
    np.testing.assert_array_equal(whole.positives.sum(-1), targets.sum(0))
    np.testing.assert_array_equal(whole.negatives.sum(-1), 300 - targets.sum(0))
    parts = [
        classification.score_counts(bins_idx[i : i + 90], targets[i : i + 90])
        for i in range(0, 300, 90)
    ]
    jax.tree.map(np.testing.assert_array_equal, sum(parts[1:], parts[0]), whole)
    monkeypatch.setattr(classification, "CHUNK_ROWS", 64)
    jax.tree.map(np.testing.assert_array_equal, counts_of(scores, targets), whole)


def test_groups_are_counted_apart():
    scores, targets = random_case(200, 5, 7)
    group = np.random.default_rng(7).integers(0, 3, 200)
    grouped = classification.count_arrays(scores, targets, group, groups=3)
    for k in range(3):
        alone = counts_of(scores[group == k], targets[group == k])
        jax.tree.map(lambda a, b, k=k: np.testing.assert_array_equal(a[k], b), grouped, alone)


def mesh_of_eight():
    assert jax.device_count() == 8
    return jax.make_mesh((8, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)


def test_sharded_counts_are_bitwise_the_unsharded_and_only_integers_are_reduced():
    scores, targets = random_case(64, 28, 8)
    mask = np.arange(64) < 59

    def count(scores, targets, mask):
        return classification.score_counts(classification.bin_of(scores, GRID), targets, mask)

    alone = jax.jit(count)(*jax.device_put((scores, targets, mask), jax.devices()[0]))
    mesh = mesh_of_eight()
    batch = jax.device_put((scores, targets, mask), NamedSharding(mesh, P("data")))
    compiled = jax.jit(count, out_shardings=NamedSharding(mesh, P())).lower(*batch).compile()
    sharded = compiled(*batch)
    jax.tree.map(np.testing.assert_array_equal, sharded, alone)
    assert len(sharded.positives.sharding.device_set) == 8 and sharded.positives.is_fully_replicated

    collective = r"= (\S.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    found = re.findall(collective, compiled.as_text())
    assert [kind for _, kind in found] == ["all-reduce"]
    assert re.findall(r"\b[a-z]+\d+(?=\[)", found[0][0]) == ["s32"] * len(
        re.findall(r"\[", found[0][0])
    )


def test_arrays_are_counted_alike_on_eight_devices(monkeypatch):
    monkeypatch.setattr(classification, "CHUNK_ROWS", 100)  # not a multiple of eight: rounded up
    scores, targets = random_case(777, 6, 9)
    sharded = counts_of(scores, targets, mesh=mesh_of_eight())
    jax.tree.map(np.testing.assert_array_equal, sharded, counts_of(scores, targets))


def test_one_compilation_serves_arrays_of_any_length():
    classification._accumulator.cache_clear()
    for fields in (1, 50, 5000):
        classification.count_arrays(*random_case(fields, 4, fields))
    assert classification._accumulator(1, classification.BINS, None)._cache_size() == 1
