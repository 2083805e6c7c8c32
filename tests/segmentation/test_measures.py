"""Average precision and Jaccard index equal a count pixel by pixel, with random masks."""

from itertools import permutations

import numpy as np
import pytest

from hpa_jax.segmentation.measures import (
    Jaccard,
    Matches,
    add_jaccard,
    add_matches,
    aggregated_jaccard,
    match,
    overlaps,
)


def pixel_sets(mask: np.ndarray) -> list[set]:
    """The pixels of each instance, in the order of their numbers."""
    found = []
    for number in sorted(set(mask.ravel().tolist()) - {0}):
        found.append(set(zip(*np.nonzero(mask == number), strict=True)))
    return found


def best_matching(truth: list[set], predicted: list[set], threshold: float) -> int:
    """The most matches that any pairing one to one has, by trying all of them."""
    few, many = sorted((truth, predicted), key=len)
    most = 0
    for order in permutations(range(len(many)), len(few)):
        hits = 0
        for one, place in zip(few, order, strict=True):
            other = many[place]
            hits += len(one & other) / len(one | other) >= threshold
        most = max(most, hits)
    return most


def kumar(truth: list[set], predicted: list[set]) -> tuple[int, int]:
    """The two sums of algorithm 1 of the paper."""
    intersection = 0
    union = 0
    used = set()
    for one in truth:
        ious = [len(one & other) / len(one | other) for other in predicted]
        best = int(np.argmax(ious)) if ious else -1
        if best < 0 or ious[best] == 0:
            union += len(one)
            continue
        intersection += len(one & predicted[best])
        union += len(one | predicted[best])
        used.add(best)
    for place, other in enumerate(predicted):
        if place not in used:
            union += len(other)
    return intersection, union


def random_mask(rng: np.random.Generator, most: int) -> np.ndarray:
    """Rectangles with gaps in their numbers, one over the other; sometimes none."""
    mask = np.zeros((14, 17), np.int32)
    for _ in range(rng.integers(0, most + 1)):
        top, left = rng.integers(0, 12, 2)
        height, width = rng.integers(1, 8, 2)
        mask[top : top + height, left : left + width] = rng.integers(1, 90)
    return mask


def test_equal_to_a_count_pixel_by_pixel():
    rng = np.random.default_rng(0)
    for _ in range(60):
        truth = random_mask(rng, 5)
        # A prediction that is like the truth, and one that is anything.
        predicted = np.roll(truth, rng.integers(0, 3, 2), (0, 1))
        if rng.random() < 0.4:
            predicted = random_mask(rng, 5)
        of_truth = pixel_sets(truth)
        of_predicted = pixel_sets(predicted)
        found = overlaps(truth, predicted)
        for threshold in (0.3, 0.5, 0.75):
            hits = best_matching(of_truth, of_predicted, threshold)
            expected = Matches(hits, len(of_predicted) - hits, len(of_truth) - hits)
            assert match(found, threshold) == expected
        assert aggregated_jaccard(found) == kumar(of_truth, of_predicted)


def test_fields_are_added_before_they_are_divided():
    assert add_matches([Matches(1, 0, 0), Matches(0, 3, 0)]).average_precision == 0.25
    assert add_jaccard([Jaccard(1, 1), Jaccard(0, 3)]).index == 0.25
    nothing = overlaps(np.zeros((2, 2), int), np.zeros((2, 2), int))
    assert match(nothing, 0.5).average_precision == 1
    assert aggregated_jaccard(nothing).index == 1
    with pytest.raises(ValueError, match="cannot be compared"):
        overlaps(np.zeros((2, 2), int), np.zeros((2, 3), int))
