"""Opening a dataset: splits, folds, labels, sizes, and everything that is refused."""

import logging
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from support.made_datasets import (
    ALL_IDS,
    COUNTS,
    IDS,
    build_dataset,
    fold_of,
    pixels_of,
    shuffled,
    take,
    targets_of,
)

from hpa_jax.data.catalog import load_dataset, read_channel_statistics
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.data.index_builder import scan_shard
from hpa_jax.data.loader import train_batches
from hpa_jax.data.records import index_path
from hpa_jax.data.sampler import Order
from hpa_jax.errors import InputError


@pytest.mark.parametrize("split", [*COUNTS, "all"])
def test_images_are_what_was_stored(data_dir, split):
    dataset = load_dataset(data_dir, "small", split=split)
    ids = ALL_IDS if split == "all" else IDS[split]
    assert len(dataset) == len(ids) and dataset.ids() == ids and dataset.image_shape == (6, 8, 4)
    for i, image_id in enumerate(ids):
        example = dataset[i]
        assert example["id"] == image_id
        assert example["image"].dtype == example["targets"].dtype == np.uint8
        # Channels, rows and columns in their places.
        np.testing.assert_array_equal(example["image"], pixels_of(image_id))
        np.testing.assert_array_equal(example["targets"], targets_of([image_id])[0])
    np.testing.assert_array_equal(dataset.targets(), targets_of(ids))


def test_fingerprint_tells_content_and_order(data_dir, tmp_path):
    prints = [
        load_dataset(data_dir, "small", split=split).fingerprint()
        for split in ("train", "test", "all", "train")
    ]
    assert prints[0] == prints[3] and len(set(prints)) == 3 and len(prints[0]) == 64
    build_dataset(tmp_path, "small", image_of=lambda i: pixels_of(i) + np.uint8(i == "train-7"))
    assert load_dataset(tmp_path, "small", split="train").fingerprint() != prints[0]
    assert load_dataset(tmp_path, "small", split="test").fingerprint() == prints[1]


def test_label_ids_choose_images_and_columns(data_dir):
    dataset = load_dataset(data_dir, "small", split="train", label_ids=(5, 2, 3))
    assert dataset.ids() == ["train-2", "train-3", "train-5"]
    assert dataset.targets().tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert [dataset[i]["targets"].tolist() for i in range(3)] == dataset.targets().tolist()
    np.testing.assert_array_equal(dataset[2]["image"], pixels_of("train-5"))


def test_any_fold_can_be_validated_on(data_dir):
    there = {*IDS["train"], *IDS["validation"]}
    for fold in range(4):
        train = load_dataset(data_dir, "small", split="train", fold=fold)
        validation = load_dataset(data_dir, "small", split="validation", fold=fold)
        assert set(validation.ids()) == {i for i in there if fold_of(i) == fold}
        assert set(train.ids()) == there - set(validation.ids())
        assert train.folds().tolist() == [fold_of(i) for i in train.ids()]
        np.testing.assert_array_equal(train[3]["image"], pixels_of(train.ids()[3]))
    assert load_dataset(data_dir, "small", split="test", fold=2).ids() == IDS["test"]
    groups = load_dataset(data_dir, "small", split="all", fold=2).groups()
    assert groups.tolist() == [len(i) for i in ALL_IDS]
    with pytest.raises(InputError, match="no fold 4: choose --config.data.fold from 0, 1, 2, 3"):
        load_dataset(data_dir, "small", split="train", fold=4)


def test_several_datasets_are_one_sequence(data_dir, tmp_path):
    build_dataset(tmp_path, "other", {"train": IDS["test"]}, lambda i: 255 - pixels_of(i))
    first = load_dataset(data_dir, "small", split="train")
    second = load_dataset(tmp_path, "other", split="train")
    joined = ConcatDataset([first, second], ["small", "other"])
    assert len(joined) == 28 and joined.lengths() == [23, 5]
    assert [(joined[i]["id"], joined[i]["source"]) for i in (0, 22, 23, 27)] == [
        *(("train-0", 0), ("train-22", 0), ("test-0", 1), ("test-4", 1))
    ]
    np.testing.assert_array_equal(joined[24]["image"], 255 - pixels_of("test-1"))
    np.testing.assert_array_equal(joined.targets(), targets_of(IDS["train"] + IDS["test"]))
    weighted = Order(np.repeat([1.0, 2.0], joined.lengths()), 0)
    (batch,) = take(train_batches(joined, weighted, batch_size=33), 1)
    assert Counter(batch["source"].tolist()) == {0: 23, 1: 10}
    with pytest.raises(InputError, match=r"\(small 6x8, other 9x9\)"):
        larger = load_dataset(tmp_path, "other", split="train", image_size=9)
        ConcatDataset([first, larger], ["small", "other"])


def test_channel_statistics_are_those_of_the_build(own_copy):
    with pytest.raises(InputError, match="no channel statistics: build it again"):
        read_channel_statistics(own_copy.parents[2], "small")
    (own_copy / "metadata.json").write_text(
        '{"statistics": {"mean": [0.5, 0, 0, 1], "std": [1, 0.5, 1, 1]}}'
    )
    assert read_channel_statistics(own_copy.parents[2], "small") == ((0.5, 0, 0, 1), (1, 0.5, 1, 1))


@pytest.mark.parametrize("size, interpolation", [(5, cv2.INTER_AREA), (9, cv2.INTER_LINEAR)])
def test_image_size(data_dir, size, interpolation):
    dataset = load_dataset(data_dir, "small", split="test", image_size=size, aspect="stretch")
    assert dataset.image_shape == (size, size, 4)
    wanted = cv2.resize(pixels_of("test-1"), (size, size), interpolation=interpolation)
    np.testing.assert_array_equal(dataset[1]["image"], wanted)


def test_sizes_that_differ_need_an_image_size(tmp_path):
    build_dataset(
        tmp_path,
        "mixed",
        {"train": IDS["train"]},
        lambda i: pixels_of(i, (6, 8) if i == "train-4" else (8, 8)),
    )
    with pytest.raises(InputError, match=r"2 sizes \(6x8, 8x8\).*--config.data.image_size"):
        shuffled(load_dataset(tmp_path, "mixed", split="train"), batch_size=4, seed=0)
    one_by_one = load_dataset(tmp_path, "mixed", split="train")
    assert one_by_one[4]["image"].shape == (6, 8, 4)
    resized = load_dataset(tmp_path, "mixed", split="train", image_size=8)
    assert resized[4]["image"].shape == (8, 8, 4)
    without_the_odd_one = load_dataset(tmp_path, "mixed", split="train", label_ids=[3])
    assert without_the_odd_one.image_shape == (8, 8, 4)


def test_newest_version_is_read_and_others_not(own_copy):
    for version in ("1.10.0", "1.9.0", "2.0.0.incomplete"):
        shutil.copytree(own_copy, own_copy.with_name(version))
    shard = next(own_copy.with_name("1.10.0").glob("*train.tfrecord*"))
    shard.unlink()
    with pytest.raises(InputError, match="1.10.0/hpa-train.*no such file"):
        load_dataset(own_copy.parents[2], "small", split="train")


def test_wrong_names_are_refused_with_the_remedy(data_dir, tmp_path):
    with pytest.raises(
        InputError, match=r"there: small\).*tfds_builder.hpa --config=large .*--data_dir"
    ):
        load_dataset(data_dir, "large", split="train")
    with pytest.raises(InputError, match="there: none"):
        load_dataset(tmp_path, "small", split="train")
    with pytest.raises(
        InputError, match="no split 'valid': choose one of train, validation, test, all"
    ):
        load_dataset(data_dir, "small", split="valid")
    with pytest.raises(InputError, match="neither a local path nor gs://"):
        load_dataset("s3://bucket/data", "small", split="train")


def test_damaged_metadata(own_copy):
    info = own_copy / "dataset_info.json"
    info.write_text(info.read_text()[:-30])
    with pytest.raises(InputError, match="1.0.0: its metadata cannot be read") as error:
        load_dataset(own_copy.parents[2], "small", split="train")
    assert "\n" not in str(error.value)


def test_shard_truncated_between_records_is_refused_at_opening(own_copy):
    shard = sorted(own_copy.glob("*train.tfrecord*"))[1]
    with shard.open("r+b") as file:
        file.truncate(int(scan_shard(shard).rows["offset"][8]))
    for _ in range(2):  # and is not taken for right the next time
        with pytest.raises(
            InputError,
            match="8 records where the dataset's metadata say 10.*missing is Id train-18",
        ):
            load_dataset(own_copy.parents[2], "small", split="train")


def test_shards_written_anew_under_an_old_index(own_copy, tmp_path, caplog):
    """As when a program that knows nothing of indexes builds a dataset again in the same place."""
    newer = build_dataset(tmp_path / "newer", "small", {**IDS, "test": IDS["test"][::-1]})
    shard = next(own_copy.glob("*test.tfrecord*"))
    shutil.copyfile(newer / shard.name, shard)
    with caplog.at_level(logging.INFO, "hpa_jax"):
        dataset = load_dataset(own_copy.parents[2], "small", split="test")
    assert [dataset[i]["id"] for i in range(5)] == IDS["test"][::-1]
    assert len([record for record in caplog.records if "indexes again" in record.getMessage()]) == 1
    assert index_path(shard).read_bytes() == index_path(newer / shard.name).read_bytes()


def test_intact_records_without_an_rgba_image(tmp_path):
    import tensorflow as tf

    folder = build_dataset(tmp_path, "small", {"train": IDS["train"][:1]})
    shard = next(folder.glob("*.tfrecord*"))
    gray = cv2.imencode(".png", np.zeros((6, 8), np.uint8))[1].tobytes()
    jpeg = cv2.imencode(".jpg", np.zeros((6, 8, 3), np.uint8))[1].tobytes()
    for image, message in (
        (gray, r"uint8 \[6, 8\], not"),
        (jpeg, "in no codec of png, zstd"),
        (b"", "in no codec of png, zstd"),
    ):
        example = tf.train.Example()
        example.features.feature["id"].bytes_list.value.append(b"train-0")
        example.features.feature["image"].bytes_list.value.append(image)
        with tf.io.TFRecordWriter(str(shard)) as writer:
            writer.write(example.SerializeToString())
        with pytest.raises(InputError, match=rf"record 0 \(Id train-0\): .*{message}"):
            load_dataset(tmp_path, "small", split="train")[0]
