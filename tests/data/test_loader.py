"""Batches of a dataset: their order, processes, padding, and the place from which they resume."""

from collections import Counter

import grain
import numpy as np
import pytest
from support.made_datasets import IDS, pixels_of, shuffled, take, targets_of

from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.index_builder import scan_shard
from hpa_jax.data.loader import eval_batches
from hpa_jax.data.tfrecord import FRAME_HEAD
from hpa_jax.errors import InputError


def ids_of(batches):
    return [image_id for batch in batches for image_id in batch["id"].tolist()]


# Training


def test_every_epoch_is_another_order_of_all_images(data_dir):
    dataset = load_dataset(data_dir, "small", split="train")
    batches = take(shuffled(dataset, batch_size=6, seed=1), 23)  # six epochs; 6 does not divide 23
    for batch in batches:
        assert batch["image"].shape == (6, 6, 8, 4) and batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["image"], [pixels_of(i) for i in batch["id"]])
        np.testing.assert_array_equal(batch["targets"], targets_of(batch["id"].tolist()))
    epochs = np.array(ids_of(batches)).reshape(6, 23).tolist()
    assert all(sorted(epoch) == sorted(IDS["train"]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    others = [ids_of(take(shuffled(dataset, batch_size=23, seed=seed), 6)) for seed in (0, 2)]
    orders = {tuple(other[at : at + 23]) for other in others for at in range(0, 138, 23)}
    assert len(orders) == 12 and not orders & {tuple(epoch) for epoch in epochs}


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_order_depends_on_the_seed_alone(data_dir, threads):
    dataset = load_dataset(data_dir, "small", split="all")
    again = take(shuffled(dataset, batch_size=5, seed=7, threads=threads), 20)
    assert ids_of(again) == ids_of(take(shuffled(dataset, batch_size=5, seed=7), 20))


@pytest.mark.parametrize("process_count", [2, 3, 6])
def test_processes_together_have_the_batch_of_one(data_dir, process_count):
    dataset = load_dataset(data_dir, "small", split="train")
    one = take(shuffled(dataset, batch_size=6, seed=3), 10)
    processes = []
    for process in range(process_count):
        settings = {"process_index": process, "process_count": process_count}
        processes.append(take(shuffled(dataset, batch_size=6, seed=3, **settings), 10))
    for step in range(10):
        together = [i for batches in processes for i in batches[step]["id"].tolist()]
        assert together == one[step]["id"].tolist()
        assert {len(batches[step]["id"]) for batches in processes} == {6 // process_count}


@pytest.mark.parametrize("threads", [0, 3])
def test_resumes_at_the_very_next_image(data_dir, threads):
    dataset = load_dataset(data_dir, "small", split="train")

    def fresh():
        return iter(
            shuffled(
                dataset, batch_size=4, seed=5, process_index=1, process_count=2, threads=threads
            )
        )

    iterator = fresh()
    batches = []
    states = []
    for _ in range(25):  # over two epochs
        states.append(iterator.get_state())
        batches.append(next(iterator)["id"].tolist())
    for step, state in enumerate(states):
        resumed = fresh()
        resumed.set_state(state)
        following = [next(resumed)["id"].tolist() for _ in range(3)]
        assert following[: 25 - step] == batches[step : step + 3]
    iterator.set_state(states[2])  # back, in an iterator that has threads at work ahead
    assert next(iterator)["id"].tolist() == batches[2]


def test_small_and_wrong_requests(data_dir):
    dataset = load_dataset(data_dir, "small", split="test")
    assert Counter(ids_of(take(shuffled(dataset, batch_size=15, seed=0), 1))) == Counter(
        IDS["test"] * 3
    )
    with pytest.raises(InputError, match="batch size 6 cannot be divided evenly among 4"):
        shuffled(dataset, batch_size=6, seed=0, process_count=4)
    none = load_dataset(data_dir, "small", split="test", label_ids=[20])
    assert len(none) == 0 and list(eval_batches(none, batch_size=4)) == []
    with pytest.raises(InputError, match="no image"):
        shuffled(none, batch_size=4, seed=0)


# Evaluation batches


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("split, batch_size", [("validation", 4), ("test", 8), ("train", 16)])
def test_evaluation_is_one_pass_with_a_masked_end(data_dir, process_count, split, batch_size):
    dataset = load_dataset(data_dir, "small", split=split)
    local = batch_size // process_count
    processes = []
    for process in range(process_count):
        settings = {"process_index": process, "process_count": process_count}
        processes.append(list(eval_batches(dataset, batch_size=batch_size, **settings)))
    assert {len(batches) for batches in processes} == {-(-len(dataset) // batch_size)}
    seen = {}
    for process, batches in enumerate(processes):
        for step, batch in enumerate(batches):
            assert batch["mask"].dtype == bool and batch["image"].shape == (local, 6, 8, 4)
            for row, image_id in enumerate(batch["id"].tolist()):
                image, targets = batch["image"][row], batch["targets"][row]
                position = step * batch_size + process * local + row
                seen[position] = image_id
                assert batch["mask"][row] == (position < len(dataset))
                if batch["mask"][row]:
                    np.testing.assert_array_equal(image, pixels_of(image_id))
                    np.testing.assert_array_equal(targets, targets_of([image_id])[0])
                else:
                    assert image_id == "" and not image.any() and not targets.any()
    assert [seen[i] for i in range(len(dataset))] == dataset.ids()


def test_evaluation_resumes_at_every_step(data_dir):
    dataset = load_dataset(data_dir, "small", split="all")
    grain.experimental.assert_equal_output_after_checkpoint(eval_batches(dataset, batch_size=6))


# Damage


@pytest.mark.parametrize("threads", [0, 2])
def test_damage_comes_out_of_the_batches_with_its_place(own_copy, threads):
    shard = sorted(own_copy.glob("*train.tfrecord*"))[1]
    data = bytearray(shard.read_bytes())
    data[int(scan_shard(shard).rows["offset"][3]) + FRAME_HEAD.size + 60] ^= 1
    shard.write_bytes(data)
    dataset = load_dataset(own_copy.parents[2], "small", split="train")
    for batches in (shuffled, lambda *args, seed, **options: eval_batches(*args, **options)):
        with pytest.raises(InputError, match=rf"{shard.name}: record 3 \(Id train-13\) is damaged"):
            take(batches(dataset, batch_size=4, seed=0, threads=threads), 6)
