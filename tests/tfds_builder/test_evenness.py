"""Splits that groups keep far from their sizes are refused; what is in bounds is not."""

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.sources import Example
from tfds_builder.hpa.split import evenness, stratify
from tfds_builder.hpa.split.perceptual import Rule

RULE = Rule()


def examples(sizes, keyed=False):
    """Images of groups of these sizes, with their groups."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    images = []
    for index, group in enumerate(groups):
        key = f"donor {group}" if keyed else ""
        images.append(Example(f"i{index}", (index % 3,), index, key))
    return images, groups


def deviations(images, groups, test=0.1, folds=5):
    labels = [image.labels for image in images]
    size = {"test": test, "folds": folds}
    found = stratify.split(labels, groups, len(LABELS), **size)
    return stratify.deviations(labels, groups, found, len(LABELS), **size)


def check(images, groups, duplicates=(), rule=RULE, **size):
    found = deviations(images, groups, **size)
    evenness.check_even(found, images, groups, duplicates, rule)


@pytest.mark.parametrize(
    ("sizes", "test"),
    [
        ([1] * 1000, 0.1),
        ([1] * 3, 0.1),
        ([6] + [1] * 6, 0.1),  # few images
        ([12], 0.1),
        ([200] * 6, 0.1),  # a test split of a sixth
        ([180] * 5 + [100], 0.1),
        ([1, 2, 3, 50] * 30, 0.2),
        ([300] + [1] * 700, 0.1),  # a fold of 300 images in place of 180
        ([1] * 500, 0),
        ([1] * 500, 0.9),
    ],
)
def test_what_is_in_bounds(sizes, test):
    check(*examples(sizes), test=test)


@pytest.mark.parametrize("sizes", [[500], [250, 250], [600] + [1] * 400, [400, 1, 1], [300] * 3])
def test_what_is_out_of_bounds(sizes):
    with pytest.raises(InputError, match="--allow_uneven_splits"):
        check(*examples(sizes))


def test_the_bounds_themselves():
    """Twice the images, or half of them, is in bounds, and so are ten images more or less."""
    wanted = np.array([[100.0], [100.0], [8.0], [0.0]])
    for images, uneven in (
        ([200, 50, 18, 50], None),
        ([201, 50, 18, 50], 0),
        ([200, 49, 18, 50], 1),
        ([200, 50, 19, 50], 2),
    ):
        counts = np.array(images)[:, None]
        found = stratify.Deviations(counts, wanted, counts - wanted)
        assert evenness.uneven_subset(found) == uneven


def test_near_duplicates_are_named_as_the_cause():
    images, groups = examples([700] + [1] * 300)
    pairs = [("i0", "i1", 2), ("i1", "i2", 7), ("i998", "other", 8)]
    with pytest.raises(InputError) as error:
        check(images, groups, pairs)
    text = str(error.value)
    assert "700 of 1000 images, 180 would be proportional: the largest group has 700" in text
    assert "2 near-duplicate pairs join its images, such as i1 and i2, 7 bits apart" in text
    assert "--duplicate_bits=4" in text and "--near_duplicates=off" in text
    assert "--allow_uneven_splits" in text and "group key" not in text
    assert "\n" not in text


def test_a_group_key_is_named_as_the_cause():
    images, groups = examples([700] + [1] * 300, keyed=True)
    with pytest.raises(InputError) as error:
        check(images, groups, rule=None)
    text = str(error.value)
    assert "700 of them have the group key donor 0" in text
    assert "--test and --folds" in text and "near" not in text
