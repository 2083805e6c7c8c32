"""Batches of P groups with K images: exact counts, the same at any position and any sharding."""

import copy

import numpy as np
import pytest

from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.data.group_sampler import GroupOrder
from hpa_jax.data.loader import train_batches
from hpa_jax.errors import InputError

GROUPS = np.array([9] * 7 + [2] * 3 + [5] + [100] * 4 + [11] * 20 + [0] * 4 + [1] * 2)


def drawn(seed=0, per_batch=3, images_each=4):
    return GroupOrder(GROUPS, seed, per_batch=per_batch, images_each=images_each)


def test_a_batch_has_images_of_p_groups_k_of_each():
    order = drawn()
    # Seven groups: two batches of three, and one group is left out.
    assert order.num_groups == 7 and order.epoch_length == 2 * 3 * 4
    left_out = set()
    for epoch in range(40):
        images = order.epoch(epoch)
        groups = GROUPS[images].reshape(-1, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == 6
        left_out |= set(GROUPS) - set(groups[:, 0])
        for row in images.reshape(-1, 4):
            size = np.count_nonzero(GROUPS == GROUPS[row[0]])
            times = np.bincount(row)[np.unique(row)]
            # Without repeating, or all of the group, as evenly as it goes.
            assert len(np.unique(row)) == min(size, 4)
            assert times.max() - times.min() <= 1
    assert left_out == set(GROUPS)


def test_every_image_of_a_large_group_comes_as_often():
    order = GroupOrder(GROUPS, 1, per_batch=7, images_each=4)
    epochs = 2000
    counts = np.zeros(len(GROUPS))
    for epoch in range(epochs):
        counts += np.bincount(order.epoch(epoch), minlength=len(GROUPS))
    of_large = counts[GROUPS == 11]
    np.testing.assert_allclose(of_large, epochs * 4 / 20, atol=5 * np.sqrt(epochs * 4 / 20))
    assert counts[GROUPS == 5] == 4 * epochs


def test_any_position_can_be_asked_for_also_of_a_copy():
    order = drawn(seed=5)
    sequence = [order[position] for position in range(100)]
    again = copy.deepcopy(drawn(seed=5))  # as a worker process gets it
    for position in np.random.default_rng(0).permutation(100).tolist():
        assert again[position] == sequence[position]
    assert drawn(seed=6).epoch(0).tolist() != order.epoch(0).tolist()
    assert order.epoch(0).tolist() != order.epoch(1).tolist()
    with pytest.raises(IndexError):
        order[-1]


def test_the_order_is_the_same_on_every_machine():
    """Written down once: a run resumes with the same sequence elsewhere, or with another NumPy."""
    order = GroupOrder(np.array([3, 3, 3, 1, 1, 7]), 42, per_batch=2, images_each=2)
    assert order.epoch(0).tolist() == EPOCH_0
    assert order.epoch(7).tolist() == EPOCH_7


EPOCH_0 = [5, 5, 3, 4]
EPOCH_7 = [4, 3, 5, 5]


def test_batches_are_the_same_however_many_processes_and_threads_read(small_data):
    dataset = load_dataset(small_data, "synthetic_32", split="train")
    groups = np.arange(len(dataset)) % 5
    order = GroupOrder(groups, 3, per_batch=2, images_each=4)

    def ids(start=0, **options):
        batches = iter(train_batches(dataset, order, batch_size=8, start=start, **options))
        return [next(batches)["id"].tolist() for _ in range(4)]

    alone = ids(threads=0)
    assert ids(threads=3) == alone
    halves = [ids(process_index=index, process_count=2) for index in range(2)]
    assert [first + second for first, second in zip(*halves, strict=True)] == alone
    assert ids(start=16)[:2] == alone[2:]
    for batch in alone:
        of_batch = [groups[dataset.ids().index(image_id)] for image_id in batch]
        assert len(set(of_batch[:4])) == len(set(of_batch[4:])) == 1 and len(set(of_batch)) == 2


def test_groups_of_different_datasets_are_different_and_images_take_values_along(small_data):
    splits = [load_dataset(small_data, "synthetic_32", split=name) for name in ("train", "test")]
    both = ConcatDataset([*splits, splits[1]], ("a", "b", "c"))
    groups = both.groups()
    ends = np.cumsum(both.lengths())
    parts = np.split(groups, ends[:-1])
    for part, own in zip(parts, [*splits, splits[1]], strict=True):
        same = np.equal.outer(own.groups(), own.groups())
        np.testing.assert_array_equal(np.equal.outer(part, part), same)
    assert not set(parts[1]) & set(parts[2]) and not set(parts[0]) & set(parts[1])
    both.add_values("class", groups.astype(np.int32))
    assert both[60]["class"] == groups[60] and both[60]["source"] == 1
    with pytest.raises(ValueError, match="3 values for 90 images"):
        both.add_values("class", np.zeros(3))


def test_what_makes_no_batch_is_refused():
    with pytest.raises(InputError, match="7 groups to draw from, and 8 are to be in a batch"):
        drawn(per_batch=8)
    with pytest.raises(InputError, match="give 1 or more"):
        drawn(images_each=0)
    with pytest.raises(InputError, match="no image to draw from"):
        GroupOrder(np.zeros(0, int), 0, per_batch=1, images_each=1)
