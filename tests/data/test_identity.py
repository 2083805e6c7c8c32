"""What a dataset is, wherever it lies: digests of its splits, and Ids to look up."""

import hashlib

import numpy as np
import pytest
from support.made_datasets import IDS, build_dataset, fold_of, labels_of, pixels_of

from hpa_jax.config import Data
from hpa_jax.data.catalog import read_digests
from hpa_jax.data.identity import count_known, id_hashes, images_digest, split_digest
from hpa_jax.data.pipeline import identify, open_sources
from hpa_jax.data.records import index_path
from hpa_jax.errors import InputError


def test_the_digest_is_of_these_lines():
    text = "a\t\t-1\nb-1\t3,11\t2\nä\t0\t0\n"
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert split_digest(["b-1", "ä", "a"], [[11, 3, 11], [0], []], [2, 0, -1]) == expected
    # NumPy's numbers, in another order.
    labels = [np.array([], np.int32), np.array([3, 11]), np.array([0])]
    assert split_digest(["a", "b-1", "ä"], labels, np.array([-1, 2, 0])) == expected
    with pytest.raises(ValueError):
        split_digest(["a"], [[1], [2]], [0, 0])


@pytest.mark.parametrize(
    ("ids", "labels", "folds"),
    [
        (["a", "c"], [[1], [2]], [0, 1]),
        (["a", "b"], [[1], [2, 3]], [0, 1]),
        (["a", "b"], [[2], [1]], [0, 1]),
        (["a", "b"], [[1], [2]], [1, 0]),
        (["a", "b", "c"], [[1], [2], []], [0, 1, 1]),
    ],
)
def test_another_id_label_or_fold_is_another_digest(ids, labels, folds):
    assert split_digest(ids, labels, folds) != split_digest(["a", "b"], [[1], [2]], [0, 1])


def test_digests_of_a_dataset_are_those_of_what_was_stored(data_dir):
    digests = read_digests(data_dir, "small")
    assert list(digests.splits) == list(digests.images) == ["train", "validation", "test"]
    for split, ids in IDS.items():
        labels = [labels_of(image_id) for image_id in ids]
        folds = [fold_of(image_id) for image_id in ids]
        assert digests.splits[split] == split_digest(ids, labels, folds)


def test_order_shards_and_place_do_not_matter_and_pixels_do(data_dir, tmp_path):
    there = read_digests(data_dir, "small")
    build_dataset(tmp_path / "turned", "small", ids={name: IDS[name][::-1] for name in IDS})
    assert read_digests(tmp_path / "turned", "small") == there
    build_dataset(
        tmp_path / "other",
        "small",
        image_of=lambda image_id: pixels_of(image_id) ^ np.uint8(image_id == "test-4"),
    )
    other = read_digests(tmp_path / "other", "small")
    assert other.splits == there.splits
    different = [split for split in IDS if other.images[split] != there.images[split]]
    assert different == ["test"]


def test_digests_need_no_index_that_was_there_before(own_copy, data_dir):
    for shard in own_copy.glob("*.tfrecord*"):
        index_path(shard).unlink()
    assert read_digests(own_copy.parents[2], "small") == read_digests(data_dir, "small")


def test_metadata_of_another_build_are_refused(own_copy):
    (own_copy / "metadata.json").write_text('{"digests": {"train": "0"}}')
    with pytest.raises(InputError, match="other Ids, labels or folds than its metadata.json"):
        read_digests(own_copy.parents[2], "small")


def test_a_run_knows_all_its_datasets_and_what_it_learns_from(data_dir, tmp_path):
    data = Data(data_dir=str(data_dir), name="small", fold=2)
    found = identify(data, open_sources(data))
    learned = [i for i in IDS["train"] + IDS["validation"] if fold_of(i) != 2]
    assert found.datasets == {"small": read_digests(data_dir, "small").splits}
    assert count_known(learned, found.learned) == len(learned) == len(found.learned)
    assert count_known([*IDS["test"], "train-1"], found.learned) == 0  # train-1 is of fold 2
    assert count_known([], found.learned) == 0


def test_hashes_of_ids_are_of_sha256():
    first = int.from_bytes(hashlib.sha256(b"b").digest()[:8], "little")
    assert first in id_hashes(["a", "b", "a"]).tolist()
    assert id_hashes(["a", "b", "a"]).dtype == np.uint64 and len(id_hashes(["a", "b", "a"])) == 2
    assert count_known(["b", "c", "b"], id_hashes(["a", "b"])) == 2


def test_the_same_images_under_other_ids_are_others():
    assert images_digest(["a", "b"], [1, 2]) == images_digest(["b", "a"], np.array([2, 1]))
    assert images_digest(["a", "b"], [1, 2]) != images_digest(["a", "b"], [2, 1])
