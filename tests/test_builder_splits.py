"""Train, validation and test: every label in proportion, no part empty, the same whatever the order of the csv."""

import os
from pathlib import Path

import numpy as np
import pytest

from hpa_jax.labels import LABELS
from tfds_builder.hpa import splits
from tfds_builder.hpa.kaggle import read_rows

FRACTIONS = (0.8, 0.1, 0.1)


def counts(labels, parts):
    """int [part, label]: fields that bear the label."""
    borne = np.zeros((len(labels), len(LABELS)), int)
    for field, ids in enumerate(labels):
        borne[field, list(ids)] = 1
    return np.array([borne[parts.get(name, [])].sum(0) for name in splits.PARTS])


def drawn(rng):
    """Fields with one to three labels of a random, often very uneven distribution."""
    kinds = int(rng.integers(2, len(LABELS)))
    share = rng.dirichlet(np.full(kinds, rng.choice([0.3, 1.0, 10.0]))) + 1e-6
    return [
        tuple(sorted(rng.choice(kinds, rng.integers(1, min(3, kinds) + 1), replace=False, p=share / share.sum())))
        for _ in range(rng.integers(10, 160))
    ]


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
@pytest.mark.parametrize(
    ("csv", "share_off", "fields_off"), [("csv/kaggle_train.csv", 0.02, 25), ("kaggle_512/train.csv", 0.1, 2)]
)
def test_real_labels_stand_in_each_part_in_proportion(csv, share_off, fields_off):
    labels = [ids for _, ids in read_rows(Path(os.environ["HPA_SAMPLE_DIR"]) / csv)]
    parts = splits.split(labels, len(LABELS), FRACTIONS, seed=0)
    found = counts(labels, parts)
    total = found.sum(0)
    enough = total >= splits.ENOUGH
    off = np.abs(found - np.outer(FRACTIONS, total))
    largest = np.max((off / np.maximum(total, 1))[:, enough])
    print(f"{csv}: largest deviation {largest:.4f} of a label, {off.max():.1f} fields")
    assert largest <= share_off
    assert off.max() <= fields_off
    assert found[:, enough].min() >= 1
    sizes = np.array([len(parts[name]) for name in splits.PARTS])
    np.testing.assert_allclose(sizes, np.array(FRACTIONS) * len(labels), atol=2)


def test_any_labels():
    """Every field once; no part empty; a label with enough fields in each part. 1 in 50 of these needs `_cover`."""
    rng = np.random.default_rng(7)
    for trial in range(300):
        labels = drawn(rng)
        parts = splits.split(labels, len(LABELS), FRACTIONS, seed=trial)
        assert sorted(sum(parts.values(), [])) == list(range(len(labels)))
        assert min(len(parts[name]) for name in splits.PARTS) >= max(len(labels) // 10, 1)
        found = counts(labels, parts)
        assert found[:, found.sum(0) >= splits.ENOUGH].all()


def test_fields_of_which_no_two_share_a_label():
    """Stratification alone would give each label's only field to train."""
    parts = splits.split([(label,) for label in range(20)], len(LABELS), FRACTIONS, seed=0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 16, "validation": 2, "test": 2}


@pytest.mark.parametrize(("fields", "sizes"), [(1, [1]), (2, [2]), (3, [1, 1, 1]), (5, [3, 1, 1]), (10, [8, 1, 1])])
def test_few_fields(fields, sizes):
    parts = splits.split([(0,)] * fields, len(LABELS), FRACTIONS, seed=0)
    assert list(map(len, parts.values())) == sizes
    assert list(parts) == list(splits.PARTS[: len(sizes)])


def test_seed():
    labels = drawn(np.random.default_rng(1))
    first, again, other = (splits.split(labels, len(LABELS), FRACTIONS, seed) for seed in (0, 0, 1))
    assert first == again != other
