"""Synthetic images: same seed, same bytes; labels in the real order; only green knows the label."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS, TRAIN_COUNTS
from tfds_builder.hpa.synthetic.cells import draw_cells
from tfds_builder.hpa.synthetic.layout import DAUGHTER, MITOTIC
from tfds_builder.hpa.synthetic.patterns import PATTERNS
from tfds_builder.hpa.synthetic.render import draw_labels, render

GREEN = 1
REFERENCES = [0, 2, 3]


def _baseline():
    benchmarks = str(Path(__file__).parents[2] / "benchmarks")
    if benchmarks not in sys.path:  # the programs there import each other by name
        sys.path.insert(0, benchmarks)
    return importlib.import_module("histogram_baseline")


def _targets(labels):
    targets = np.zeros((len(labels), len(LABELS)), np.uint8)
    for row, image in zip(targets, labels, strict=True):
        row[list(image)] = 1
    return targets


@pytest.mark.parametrize("size", [64, 96, 512])
def test_shape_and_determinism(size):
    image = render(3, 5, (7, 21), size)
    assert image.shape == (size, size, 4) and image.dtype == np.uint8
    render(4, 6, (0,), 64)  # what is drawn in between must not matter
    np.testing.assert_array_equal(image, render(3, 5, (7, 21), size))
    np.testing.assert_array_equal(image, render(3, 5, (21, 7), size))
    for other in (render(3, 6, (7, 21), size), render(4, 5, (7, 21), size)):
        assert all((image[..., c] != other[..., c]).mean() > 0.5 for c in range(4))


def test_only_green_knows_the_labels():
    for index in range(3):
        images = [render(1, index, labels, 96) for labels in ((16,), (17,), (0, 12, 21), (25,))]
        for other in images[1:]:
            np.testing.assert_array_equal(images[0][..., REFERENCES], other[..., REFERENCES])
            assert (images[0][..., GREEN] != other[..., GREEN]).mean() > 0.2


def test_every_image_has_dividing_cells():
    for index in range(20):
        cells = draw_cells(np.random.default_rng(index), 64)
        assert (cells.kind == MITOTIC).sum() == 1 and (cells.kind == DAUGHTER).sum() == 2
        dividing = (cells.kind == MITOTIC) | (cells.kind == DAUGHTER)
        assert ((cells.centre[dividing] > 0) & (cells.centre[dividing] < 64)).all()
        assert cells.spindle.max() > 0.9 and cells.bridge.max() > 0.9


@pytest.mark.parametrize("frequencies", ["tempered", "real"])
def test_labels_follow_the_real_order(frequencies):
    images = draw_labels(0, 2000, frequencies)
    assert images == draw_labels(0, 2000, frequencies) != draw_labels(1, 2000, frequencies)
    assert all(tuple(sorted(set(image))) == image and 1 <= len(image) <= 4 for image in images)
    counts = _targets(images).sum(axis=0)
    order = np.argsort(-np.array(TRAIN_COUNTS))
    assert (np.diff(counts[order].astype(int)) <= 0).all() and counts.min() >= 1
    assert 1.6 < counts.sum() / 2000 < 1.67
    if frequencies == "tempered":
        assert counts.min() >= 0.029 * 2000 and counts.max() > 2 * counts.min()
    else:
        np.testing.assert_allclose(counts / 2000, np.array(TRAIN_COUNTS) / 31072, atol=0.002)


@pytest.mark.parametrize("images", [1, 2, 3, 5, 17, 40])
def test_few_images(images):
    for seed in range(5):
        labels = draw_labels(seed, images, "real")
        assert len(labels) == images and all(
            1 <= len(set(image)) == len(image) <= 4 for image in labels
        )


def test_patterns_cover_the_labels_and_differ():
    assert tuple(PATTERNS) == LABELS
    maps = [[] for _ in LABELS]
    for index in range(6):
        cells = draw_cells(np.random.default_rng(index), 96)
        for label, name in enumerate(LABELS):
            pattern, _ = PATTERNS[name]
            image = np.asarray(pattern(cells, np.random.default_rng([index, label])), float)
            assert image.shape == (96, 96) and image.min() >= 0 and 0.5 < image.max() < 1.5
            maps[label].append((image - image.mean()) / image.std())
    flat = np.stack([np.concatenate([image.ravel() for image in images]) for images in maps])
    correlation = np.corrcoef(flat) - np.eye(len(LABELS))
    worst = np.unravel_index(np.argmax(correlation), correlation.shape)
    assert correlation.max() < 0.8, f"{LABELS[worst[0]]} and {LABELS[worst[1]]} look alike"


def test_histograms_do_not_reveal_the_labels():
    baseline = _baseline()
    labels = draw_labels(11, 1300, "tempered")
    targets = _targets(labels)
    features = np.concatenate(
        [
            baseline.intensity_histograms(render(11, i, image, 64)[None])
            for i, image in enumerate(labels)
        ]
    )
    assert features.shape == (1300, 64) and np.allclose(features.reshape(-1, 4, 16).sum(axis=2), 1)
    fitted = features[:1000], targets[:1000], features[1000:], targets[1000:]
    assert baseline.fit_and_score(*fitted) <= 0.18
    assert baseline.fit_and_score(*fitted, class_weight="balanced") <= 0.25


def test_baseline_finds_labels_where_histograms_do_reveal_them():
    """The baseline itself works: brightness that follows the label is found."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (200, 4)).astype(np.uint8)
    images = rng.integers(0, 60, (200, 16, 16, 4)) + 180 * targets[:, None, None, :]
    features = _baseline().intensity_histograms(images.astype(np.uint8))
    assert (
        _baseline().fit_and_score(features[:150], targets[:150], features[150:], targets[150:])
        > 0.95
    )


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: render(0, 4, (28,), 64), "28"),
        (lambda: render(0, 4, (0,), 16), "16 px"),
        (lambda: draw_labels(0, 10, "flat"), "flat"),
        (lambda: draw_labels(0, 0, "real"), "0"),
    ],
)
def test_wrong_calls_are_named(call, names):
    with pytest.raises(InputError, match=names):
        call()
