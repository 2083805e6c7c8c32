"""The numbers of the sections about a dataset, against counting one by one."""

from dataclasses import replace

import numpy as np
from support.made_reports import made_dataset

from hpa_jax.data.catalog import load_dataset
from hpa_jax.report.dataset import examples
from hpa_jax.report.dataset.build import count_reasons
from hpa_jax.report.dataset.images import intensities
from hpa_jax.report.dataset.labels import cooccurrence, label_counts
from hpa_jax.report.dataset.load import Duplicate, Reject, read_dataset
from hpa_jax.report.dataset.overview import findings


def test_a_summary_has_the_splits_and_the_pixels_of_the_dataset(small_data):
    summary, images = read_dataset(small_data, "synthetic_32")
    splits = []
    for name in ("train", "validation", "test"):
        splits.append(load_dataset(small_data, "synthetic_32", split=name))
    assert summary.ids == [image_id for split in splits for image_id in split.ids()]
    members = [int((summary.split_indices() == i).sum()) for i in range(3)]
    assert members == [len(split) for split in splits]
    pixels = np.stack([images.image(i) for i in range(len(images))]).reshape(-1, 4)
    for channel, histogram in enumerate(summary.histogram):
        found = intensities(histogram)
        values = pixels[:, channel] / 255
        np.testing.assert_allclose([found.mean, found.std], [values.mean(), values.std()], 1e-9)
        np.testing.assert_allclose(found.bright, np.quantile(values, 0.99, method="inverted_cdf"))
        assert found.dark == (values == 0).mean() and found.saturated == (values == 1).mean()
        assert not found.empty


def test_counts_and_pairs_of_labels_equal_counting_one_by_one():
    datasets = [made_dataset(), made_dataset(n=50)]
    sets = [frozenset(np.flatnonzero(row)) for d in datasets for row in d.targets]
    both = cooccurrence(datasets)
    for i in range(28):
        for j in range(28):
            assert both[i, j] == sum({i, j} <= labels for labels in sets)
    assert (label_counts(datasets).sum(axis=1) == np.diag(both)).all()


def test_examples_have_the_label_and_spread_over_all_datasets():
    datasets = [made_dataset(), made_dataset(n=100)]
    for label, refs in enumerate(examples.examples_per_label(datasets)):
        assert len(set(refs)) == examples.PER_LABEL
        assert all(datasets[ref.dataset].targets[ref.index, label] for ref in refs)
        assert {ref.dataset for ref in refs} == {0, 1}
    assert examples.evenly_spread(np.array([3, 5]), 9) == [3, 5]
    assert examples.evenly_spread(np.arange(100), 3) == [0, 50, 99]


def test_near_duplicates_with_differing_labels_come_first():
    summary = made_dataset(ids=[f"f{i}" for i in range(300)])
    summary.targets[7] = summary.targets[6]
    duplicates = [
        Duplicate("f6", "f7", 0),
        Duplicate("f0", "f1", 9),
        Duplicate("f2", "f3", 2),
        Duplicate("f4", "unknown", 0),
    ]
    pairs = examples.duplicate_pairs([replace(summary, duplicates=duplicates)])
    assert [pair.ids[0] for pair in pairs] == ["f2", "f0", "f6", "f4"]
    assert [pair.labels_differ for pair in pairs] == [True, True, False, False]
    assert pairs[0].images[0] == (0, 2) and pairs[3].images[1] is None


def test_a_duplicate_of_another_dataset_is_found_there_and_its_own_image_comes_first():
    duplicates = [Duplicate("f0", "g1", 0)]
    first = made_dataset(ids=[f"f{i}" for i in range(300)], duplicates=duplicates)
    second = made_dataset(ids=["f0", *(f"g{i}" for i in range(1, 300))], duplicates=None)
    (pair,) = examples.duplicate_pairs([first, second])
    assert pair.images == ((0, 0), (1, 1)) and pair.folds_differ


def test_what_is_worth_a_look_is_found():
    n = 300
    targets = made_dataset().targets
    targets[:, 27] = 0
    targets[:, 26] = 0
    targets[:3, 26] = 1
    histogram = np.full((4, 256), 10)
    histogram[1, 11:] = 0
    histogram[2, 255] = 10_000
    summary = made_dataset(groups=np.arange(n) // 2, targets=targets, histogram=histogram)
    found = findings([summary], examples.duplicate_pairs([summary]), {})
    text = [" ".join([one.headline, *one.names, one.details]).strip() for one in found]
    assert text[0].endswith(
        "groups have images in several folds: scores on this dataset cannot be trusted."
    )
    assert text[1:4] == [
        "1 pair of near-duplicates is in different folds.",
        "1 pair of near-duplicates has differing labels.",
        "6.2% of the rows of made were rejected.",
    ]
    assert text[4] == "made: the green channel is empty."
    assert text[5].startswith("made: the blue channel is saturated: ")
    assert text[6] == "1 label without any image: Rods & rings"
    assert text[7] == "1 label with fewer than 10 images: Cytoplasmic bodies"
    assert not any("red channel" in one or "several sizes" in one for one in text)


def test_reasons_are_counted_without_their_numbers():
    rejects = [Reject("a", "f", f"is {i}x{i}, not 512x512") for i in range(3)]
    rejects.append(Reject("b", "g", "is empty"))
    assert count_reasons(rejects) == [("is NxN, not NxN", 3), ("is empty", 1)]
