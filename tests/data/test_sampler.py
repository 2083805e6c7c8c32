"""How often images are shown, and their order: exact counts, the same at any position."""

import pickle
import threading

import numpy as np
import pytest

from hpa_jax.data import sampler
from hpa_jax.data.sampler import (
    Order,
    class_balanced_factors,
    rare_image_factors,
    rare_images,
    rare_labels,
    repeat_factors,
    sampling_factors,
)
from hpa_jax.errors import InputError

TARGETS = np.array(
    [[1, 0, 0, 0]] * 90 + [[1, 1, 0, 0]] * 8 + [[0, 1, 1, 0]] + [[0, 0, 0, 0]], np.uint8
)


def drawn_factors(count=300, seed=0):
    """Factors of all kinds: small, whole, fractional, a few large."""
    rng = np.random.default_rng(seed)
    return rng.choice([0.05, 0.25, 0.9, 1.0, 1.0, 1.3, 2.0, 3.7, 12.5], count) * rng.choice(
        [1.0, 1.1], count
    )


def counts(order, epoch):
    return np.bincount(order.epoch(epoch), minlength=order.num_images)


def test_repeat_factors_are_lvis_s():
    # Fractions: 0.98, 0.09, 0.01, none. Threshold 0.16: 1, 4/3, 4, unused.
    found = repeat_factors(TARGETS, 0.16)
    np.testing.assert_allclose(found, [1] * 90 + [4 / 3] * 8 + [4] + [1])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(repeat_factors(TARGETS, 0), np.ones(100))
    np.testing.assert_array_equal(repeat_factors(TARGETS[:0], 0.1), np.ones(0))


def test_class_balanced_is_a_label_first_and_then_one_of_its_images():
    factors = class_balanced_factors(TARGETS)
    # Labels of 98, 9, 1 and 0 images, and one image without a label: four kinds to draw.
    quarter = 100 / 4
    a, b, c = quarter / 98, quarter / 9, quarter
    np.testing.assert_allclose(factors, [a] * 90 + [a + b] * 8 + [b + c] + [quarter])
    # The same by drawing, and what an order of these factors shows.
    rng = np.random.default_rng(0)
    kinds = [np.flatnonzero(TARGETS[:, label]) for label in range(3)] + [np.array([99])]
    drawn = [rng.choice(kinds[kind]) for kind in rng.integers(0, 4, 20_000)]
    found = np.bincount(drawn, minlength=100) / 200
    np.testing.assert_allclose(found, factors, atol=5 * np.sqrt(factors / 200).max())
    order = Order(factors, seed=2)
    assert order.epoch_length == 100
    shown = sum(counts(order, epoch) for epoch in range(200)) / 200
    np.testing.assert_allclose(shown, factors, atol=0.12)
    assert class_balanced_factors(TARGETS[:0]).shape == (0,)
    np.testing.assert_array_equal(class_balanced_factors(np.zeros((3, 4), np.uint8)), 1)


def test_rare_is_a_label_of_few_images():
    # Nine images have label 1, and none has label 3.
    assert rare_labels(TARGETS, 9).tolist() == [False, False, True, False]
    assert rare_labels(TARGETS, 10).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(rare_images(TARGETS, 9), [False] * 98 + [True, False])
    np.testing.assert_array_equal(rare_images(TARGETS, 10), [False] * 90 + [True] * 9 + [False])
    np.testing.assert_array_equal(
        rare_image_factors(TARGETS, 10, 3), [1.0] * 90 + [3.0] * 9 + [1.0]
    )
    assert not rare_images(TARGETS, 0).any()


def test_factors_by_name():
    settings = {"rare_below": 10, "rare_copies": 3, "repeat_threshold": 0.16}
    found = {name: sampling_factors(TARGETS, name, **settings) for name in sampler.SAMPLINGS}
    np.testing.assert_array_equal(found["uniform"], np.ones(100))
    np.testing.assert_array_equal(found["hpa_densenet"], rare_image_factors(TARGETS, 10, 3))
    np.testing.assert_array_equal(found["repeat_factor"], repeat_factors(TARGETS, 0.16))
    np.testing.assert_array_equal(found["class_balanced"], class_balanced_factors(TARGETS))
    with pytest.raises(
        InputError,
        match="config.data.sampling='lvis' is unknown; allowed: uniform, hpa_densenet, repeat_fac",
    ):
        sampling_factors(TARGETS, "lvis", **settings)


@pytest.mark.parametrize("count", [1, 2, 3, 77, 1000])
def test_uniform_shows_every_image_once_an_epoch(count):
    order = Order(np.ones(count), seed=1)
    assert order.epoch_length == count
    for epoch in range(5):
        assert sorted(order.epoch(epoch).tolist()) == list(range(count))
    if count > 50:
        assert not np.array_equal(order.epoch(0), order.epoch(1))


@pytest.mark.parametrize("case", range(40))
def test_counts_are_exact_in_every_epoch(case):
    rng = np.random.default_rng(case)
    given = drawn_factors(int(rng.integers(1, 60)), seed=case) * rng.choice([1, 0.3, 1 / 3])
    order = Order(given, seed=case)
    assert order.epoch_length == max(1, np.floor(given.sum() + 0.5))
    for epoch in (0, 1, 2, 1000, 10**9):
        found = counts(order, epoch)
        assert found.sum() == order.epoch_length == len(order.epoch(epoch))
        near = np.rint(given)
        exact = np.where(np.abs(given - near) < 1e-9, near, given)
        assert (found >= np.floor(exact)).all() and (found <= np.ceil(exact)).all()


def test_on_average_every_image_is_shown_as_often_as_its_factor_says():
    given = drawn_factors(40)
    # An integer sum: the length of an epoch is not rounded.
    given[0] += np.round(given.sum()) - given.sum()
    order = Order(given, seed=3)
    epochs = 4000
    found = sum(counts(order, epoch) for epoch in range(epochs)) / epochs
    part = given % 1
    np.testing.assert_array_less(
        np.abs(found - given), 5 * np.sqrt(part * (1 - part) / epochs) + 1e-9
    )


def test_a_source_of_weight_a_quarter_shows_each_image_in_a_quarter_of_the_epochs():
    order = Order(np.concatenate([np.ones(30), np.full(200, 0.25)]), seed=0)
    assert order.epoch_length == 80
    shown = np.stack([counts(order, epoch) for epoch in range(400)])
    assert (
        (shown[:, :30] == 1).all()
        and shown[:, 30:].max() == 1
        and (shown[:, 30:].sum(1) == 50).all()
    )
    assert np.abs(shown[:, 30:].mean(0) - 0.25).max() < 0.1


def test_images_with_fractions_are_drawn_independently_of_their_neighbors():
    """A systematic sample in stored order would always take the same half of the images."""
    order = Order(np.full(100, 0.5), seed=0)
    shown = np.stack([counts(order, epoch) for epoch in range(2000)]).astype(float)
    correlation = np.corrcoef(shown.T)[~np.eye(100, dtype=bool)]
    assert np.abs(correlation).max() < 0.15 and abs(correlation.mean()) < 0.02


def test_any_position_can_be_asked_for_and_is_what_the_sequence_holds():
    order = Order(drawn_factors(), seed=5)
    length = order.epoch_length
    sequence = [order[p] for p in range(4 * length)]
    assert sequence == np.concatenate([order.epoch(epoch) for epoch in range(4)]).tolist()
    assert all(isinstance(image, int) for image in sequence)
    shuffled = np.random.default_rng(0).permutation(4 * length)
    again = Order(drawn_factors(), seed=5)  # one that has seen nothing yet
    for p in shuffled[:500].tolist():
        assert again[p] == sequence[p]
    resumed = Order(drawn_factors(), seed=5)
    assert [resumed[p] for p in range(2 * length + 7, 3 * length)] == sequence[
        2 * length + 7 : 3 * length
    ]


def test_seeds_and_epochs_differ():
    orders = [Order(np.ones(100), seed=seed) for seed in range(10)]
    epochs = {order.epoch(number).tobytes() for order in orders for number in range(10)}
    assert len(epochs) == 100


@pytest.mark.parametrize("count", [7, 8, 9])
def test_every_image_comes_to_every_place_equally_often(count):
    order = Order(np.ones(count), seed=4)
    epochs = 3000
    at = np.zeros((count, count))
    for epoch in range(epochs):
        at[order.epoch(epoch), np.arange(count)] += 1
    chi_squared = ((at - epochs / count) ** 2 / (epochs / count)).sum()
    freedom = (count - 1) ** 2
    assert abs(chi_squared - freedom) < 5 * np.sqrt(2 * freedom)


def test_the_order_is_the_same_on_every_machine():
    """Written down once: a run resumes with the same sequence elsewhere, or with another NumPy."""
    order = Order(np.array([1.0, 2.5, 0.25, 3.2, 1.0, 0.55]), seed=42)
    assert order.epoch_length == 9
    assert order.epoch(0).tolist() == EPOCH_0
    assert order.epoch(7).tolist() == EPOCH_7


EPOCH_0 = [4, 3, 1, 0, 1, 3, 3, 5, 3]
EPOCH_7 = [1, 3, 5, 4, 0, 1, 3, 1, 3]


def test_a_pickled_order_continues():
    order = Order(drawn_factors(), seed=9)
    first = order.epoch(2)
    data = pickle.dumps(order)
    assert len(data) < 300 * 16 + 2000  # no epoch travels
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.epoch(2), first)
    assert again[17] == order[17] and again.epoch_length == order.epoch_length


def test_only_two_epochs_are_kept():
    order = Order(np.ones(50), seed=0)
    kept = [order.epoch(number) for number in range(5)]
    assert order.epoch(4) is kept[4] and order.epoch(3) is kept[3]
    assert order.epoch(0) is not kept[0]
    np.testing.assert_array_equal(order.epoch(0), kept[0])
    with pytest.raises(ValueError, match="read-only"):
        kept[0][0] = 1
    assert kept[0].dtype == np.int32


def test_threads_see_one_sequence():
    order = Order(drawn_factors(), seed=2)
    plain = Order(drawn_factors(), seed=2)
    wanted = [plain[p] for p in range(3000)]
    found = [None] * 3000
    start = threading.Barrier(8)

    def read(thread):
        start.wait()
        for p in np.random.default_rng(thread).permutation(np.arange(thread, 3000, 8)).tolist():
            found[p] = order[p]

    threads = [threading.Thread(target=read, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


@pytest.mark.parametrize(
    "bad", [[], [[1.0]], [1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [np.inf], [1e7], [1e-9]]
)
def test_factors_that_make_no_order_are_refused(bad):
    with pytest.raises(InputError, match="no image to draw from|are to be shown"):
        Order(np.array(bad), seed=0)


def test_an_epoch_too_long_is_refused():
    with pytest.raises(InputError, match="too long"):
        Order(np.full(3000, 1e6), seed=0)


def test_positions_before_the_first_are_refused():
    with pytest.raises(IndexError):
        Order(np.ones(3), seed=0)[-1]


def test_a_single_field_of_small_weight_is_always_shown():
    order = Order(np.array([1e-6]), seed=0)
    assert order.epoch_length == 1 and [order[p] for p in range(3)] == [0, 0, 0]
