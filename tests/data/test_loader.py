"""The way of a field from a TFDS directory into batches, on datasets that TFDS itself writes here."""

import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds

from hpa_jax.data.catalog import open_dataset, read_channel_statistics
from hpa_jax.data.dataset import ConcatDataset
from hpa_jax.data.loader import eval_batches, train_batches
from hpa_jax.data.records import index_path, write_index
from hpa_jax.data.sampler import Order
from hpa_jax.data.shard_index import scan
from hpa_jax.data.tfrecord import FRAME_HEAD
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS

PARTS = {"train": 23, "validation": 7, "test": 5}
IDS = {part: [f"{part}-{i}" for i in range(count)] for part, count in PARTS.items()}


def pixels_of(field_id, shape=(6, 8)):
    """The image that belongs to an Id: noise, so that no two channels, rows or columns are alike."""
    return np.random.default_rng(list(field_id.encode())).integers(0, 256, (*shape, 4), np.uint8)


def labels_of(field_id):
    number = int(field_id.rsplit("-", 1)[1])
    return [number % 28, 27] if number % 3 else [number % 28]


def fold_of(field_id):
    part, number = field_id.rsplit("-", 1)
    return {"train": 1 + int(number) % 3, "validation": 0, "test": -1}[part]


def targets_of(ids):
    return np.array(
        [[label in labels_of(field_id) for label in range(28)] for field_id in ids], np.uint8
    )


def build(data_dir, name, ids=IDS, image_of=pixels_of, label_names=LABELS):
    """Writes `data_dir/hpa/NAME/1.0.0` with TFDS's own writer, ten fields a shard, and the indexes."""
    folder = Path(data_dir) / "hpa" / name / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(
                shape=(None, None, 4), dtype=np.uint8, encoding_format="png"
            ),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=list(label_names))),
            "fold": tfds.features.Scalar(np.int64),
            "group": tfds.features.Scalar(np.int64),
        }
    )
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="hpa",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name="",
        config_name=name,
    )
    writer = tfds.core.SequentialWriter(
        tfds.core.DatasetInfo(builder=identity, features=features), 10
    )
    writer.initialize_splits(list(ids))
    for part, names in ids.items():
        for i in names:
            facts = {"labels": labels_of(i), "fold": fold_of(i), "group": len(i)}
            writer.add_examples({part: [{"id": i, "image": image_of(i), **facts}]})
    writer.close_all()
    for shard in folder.glob("*.tfrecord*"):
        write_index(shard)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    build(path, "small")
    return path


@pytest.fixture
def own_copy(data_dir, tmp_path):
    """A copy of the dataset to damage."""
    return Path(
        shutil.copytree(data_dir / "hpa" / "small" / "1.0.0", tmp_path / "hpa" / "small" / "1.0.0")
    )


def take(dataset, count):
    iterator = iter(dataset)
    return [next(iterator) for _ in range(count)]


def shuffled(fields, *, batch_size, seed, **options):
    """Training batches in which every field comes once an epoch."""
    return train_batches(
        fields, Order(np.ones(len(fields)), seed), batch_size=batch_size, **options
    )


def ids_of(batches):
    return [field_id for batch in batches for field_id in batch["id"].tolist()]


# Opening


@pytest.mark.parametrize("split", [*PARTS, "all"])
def test_fields_are_what_was_stored(data_dir, split):
    fields = open_dataset(data_dir, "small", split)
    ids = sum(IDS.values(), []) if split == "all" else IDS[split]
    assert len(fields) == len(ids) and fields.ids() == ids and fields.image_shape == (6, 8, 4)
    for i, field_id in enumerate(ids):
        field = fields[i]
        assert field["id"] == field_id
        assert field["image"].dtype == field["targets"].dtype == np.uint8
        np.testing.assert_array_equal(
            field["image"], pixels_of(field_id)
        )  # channels, rows and columns in their places
        np.testing.assert_array_equal(field["targets"], targets_of([field_id])[0])
    np.testing.assert_array_equal(fields.targets(), targets_of(ids))


def test_fingerprint_tells_content_and_order(data_dir, tmp_path):
    prints = [
        open_dataset(data_dir, "small", split).fingerprint()
        for split in ("train", "test", "all", "train")
    ]
    assert prints[0] == prints[3] and len(set(prints)) == 3 and len(prints[0]) == 64
    build(tmp_path, "small", image_of=lambda i: pixels_of(i) + np.uint8(i == "train-7"))
    assert open_dataset(tmp_path, "small", "train").fingerprint() != prints[0]
    assert open_dataset(tmp_path, "small", "test").fingerprint() == prints[1]


def test_label_ids_choose_fields_and_columns(data_dir):
    fields = open_dataset(data_dir, "small", "train", label_ids=(5, 2, 3))
    assert fields.ids() == ["train-2", "train-3", "train-5"]
    assert fields.targets().tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert [fields[i]["targets"].tolist() for i in range(3)] == fields.targets().tolist()
    np.testing.assert_array_equal(fields[2]["image"], pixels_of("train-5"))


def test_any_fold_can_be_validated_on(data_dir):
    there = {f"{part}-{i}" for part in ("train", "validation") for i in range(PARTS[part])}
    for fold in range(4):
        train, validation = (
            open_dataset(data_dir, "small", part, fold=fold) for part in ("train", "validation")
        )
        assert set(validation.ids()) == {i for i in there if fold_of(i) == fold}
        assert set(train.ids()) == there - set(validation.ids())
        assert train.folds().tolist() == [fold_of(i) for i in train.ids()]
        np.testing.assert_array_equal(train[3]["image"], pixels_of(train.ids()[3]))
    assert open_dataset(data_dir, "small", "test", fold=2).ids() == IDS["test"]
    assert open_dataset(data_dir, "small", "all", fold=2).groups().tolist() == [
        len(i) for i in sum(IDS.values(), [])
    ]
    with pytest.raises(InputError, match="no fold 4: choose --config.data.fold from 0, 1, 2, 3"):
        open_dataset(data_dir, "small", "train", fold=4)


def test_several_datasets_are_one_sequence(data_dir, tmp_path):
    build(tmp_path, "other", {"train": IDS["test"]}, lambda i: 255 - pixels_of(i))
    first, second = (
        open_dataset(data_dir, "small", "train"),
        open_dataset(tmp_path, "other", "train"),
    )
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
        ConcatDataset(
            [first, open_dataset(tmp_path, "other", "train", image_size=9)], ["small", "other"]
        )


def test_figures_are_those_of_the_build(own_copy):
    with pytest.raises(InputError, match="no normalisation figures: build it again"):
        read_channel_statistics(own_copy.parents[2], "small")
    (own_copy / "metadata.json").write_text(
        '{"statistics": {"mean": [0.5, 0, 0, 1], "std": [1, 0.5, 1, 1]}}'
    )
    assert read_channel_statistics(own_copy.parents[2], "small") == ((0.5, 0, 0, 1), (1, 0.5, 1, 1))


@pytest.mark.parametrize("size, interpolation", [(5, cv2.INTER_AREA), (9, cv2.INTER_LINEAR)])
def test_image_size(data_dir, size, interpolation):
    fields = open_dataset(data_dir, "small", "test", image_size=size)
    assert fields.image_shape == (size, size, 4)
    wanted = cv2.resize(pixels_of("test-1"), (size, size), interpolation=interpolation)
    np.testing.assert_array_equal(fields[1]["image"], wanted)


def test_sizes_that_differ_need_an_image_size(tmp_path):
    build(
        tmp_path,
        "mixed",
        {"train": IDS["train"]},
        lambda i: pixels_of(i, (6, 8) if i == "train-4" else (8, 8)),
    )
    with pytest.raises(InputError, match=r"2 sizes \(6x8, 8x8\).*--config.data.image_size"):
        shuffled(open_dataset(tmp_path, "mixed", "train"), batch_size=4, seed=0)
    assert open_dataset(tmp_path, "mixed", "train")[4]["image"].shape == (
        6,
        8,
        4,
    )  # one by one they may be read
    assert open_dataset(tmp_path, "mixed", "train", image_size=8)[4]["image"].shape == (8, 8, 4)
    assert open_dataset(tmp_path, "mixed", "train", label_ids=[3]).image_shape == (
        8,
        8,
        4,
    )  # those kept have one size


def test_newest_version_is_read_and_others_not(own_copy):
    for version in ("1.10.0", "1.9.0", "2.0.0.incomplete"):
        shutil.copytree(own_copy, own_copy.with_name(version))
    shard = next(own_copy.with_name("1.10.0").glob("*train.tfrecord*"))
    shard.unlink()
    with pytest.raises(InputError, match="1.10.0/hpa-train.*no such file"):
        open_dataset(own_copy.parents[2], "small", "train")


def test_wrong_names_are_refused_with_the_remedy(data_dir, tmp_path):
    with pytest.raises(
        InputError, match=r"there: small\).*tfds_builder.hpa --config=large .*--data_dir"
    ):
        open_dataset(data_dir, "large", "train")
    with pytest.raises(InputError, match="there: none"):
        open_dataset(tmp_path, "small", "train")
    with pytest.raises(
        InputError, match="no split 'valid': choose one of train, validation, test, all"
    ):
        open_dataset(data_dir, "small", "valid")
    with pytest.raises(InputError, match="not a local directory"):
        open_dataset("gs://bucket/data", "small", "train")
    build(tmp_path, "names", {"train": IDS["train"]}, label_names=LABELS[::-1])
    with pytest.raises(InputError, match="its labels are not the 28"):
        open_dataset(tmp_path, "names", "train")


def test_damaged_metadata(own_copy):
    info = own_copy / "dataset_info.json"
    info.write_text(info.read_text()[:-30])
    with pytest.raises(InputError, match="1.0.0: its metadata cannot be read") as error:
        open_dataset(own_copy.parents[2], "small", "train")
    assert "\n" not in str(error.value)


# Damage


def test_shard_cut_between_records_is_refused_at_opening(own_copy):
    shard = sorted(own_copy.glob("*train.tfrecord*"))[1]
    with shard.open("r+b") as file:
        file.truncate(int(scan(shard).rows["offset"][8]))
    for _ in range(2):  # and is not taken for right the next time
        with pytest.raises(
            InputError,
            match="8 records where the dataset's metadata say 10.*missing is Id train-18",
        ):
            open_dataset(own_copy.parents[2], "small", "train")


@pytest.mark.parametrize("threads", [0, 2])
def test_damage_comes_out_of_the_batches_with_its_place(own_copy, threads):
    shard = sorted(own_copy.glob("*train.tfrecord*"))[1]
    data = bytearray(shard.read_bytes())
    data[int(scan(shard).rows["offset"][3]) + FRAME_HEAD.size + 60] ^= 1
    shard.write_bytes(data)
    fields = open_dataset(own_copy.parents[2], "small", "train")
    for batches in (shuffled, lambda *args, seed, **options: eval_batches(*args, **options)):
        with pytest.raises(InputError, match=rf"{shard.name}: record 3 \(Id train-13\) is damaged"):
            take(batches(fields, batch_size=4, seed=0, threads=threads), 6)


def test_shards_written_anew_under_an_old_index(own_copy, tmp_path, caplog):
    """As when a dataset is built again into the same place by a program that knows nothing of indexes."""
    newer = build(tmp_path / "newer", "small", {**IDS, "test": IDS["test"][::-1]})
    shard = next(own_copy.glob("*test.tfrecord*"))
    shutil.copyfile(newer / shard.name, shard)
    with caplog.at_level(logging.INFO, "absl"):
        fields = open_dataset(own_copy.parents[2], "small", "test")
    assert [fields[i]["id"] for i in range(5)] == IDS["test"][::-1]
    assert len([record for record in caplog.records if "indexes again" in record.getMessage()]) == 1
    assert index_path(shard).read_bytes() == index_path(newer / shard.name).read_bytes()


def test_what_is_whole_but_no_rgba_png(tmp_path):
    import tensorflow as tf

    folder = build(tmp_path, "small", {"train": IDS["train"][:1]})
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
            open_dataset(tmp_path, "small", "train")[0]


# Training batches


def test_every_epoch_is_another_order_of_all_fields(data_dir):
    fields = open_dataset(data_dir, "small", "train")
    batches = take(shuffled(fields, batch_size=6, seed=1), 23)  # six epochs; 6 does not divide 23
    for batch in batches:
        assert batch["image"].shape == (6, 6, 8, 4) and batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["image"], [pixels_of(i) for i in batch["id"]])
        np.testing.assert_array_equal(batch["targets"], targets_of(batch["id"].tolist()))
    epochs = np.array(ids_of(batches)).reshape(6, 23).tolist()
    assert all(sorted(epoch) == sorted(IDS["train"]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    others = [ids_of(take(shuffled(fields, batch_size=23, seed=seed), 6)) for seed in (0, 2)]
    orders = {tuple(other[at : at + 23]) for other in others for at in range(0, 138, 23)}
    assert len(orders) == 12 and not orders & {tuple(epoch) for epoch in epochs}


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_order_depends_on_the_seed_alone(data_dir, threads):
    fields = open_dataset(data_dir, "small", "all")
    again = take(shuffled(fields, batch_size=5, seed=7, threads=threads), 20)
    assert ids_of(again) == ids_of(take(shuffled(fields, batch_size=5, seed=7), 20))


@pytest.mark.parametrize("process_count", [2, 3, 6])
def test_processes_together_have_the_batch_of_one(data_dir, process_count):
    fields = open_dataset(data_dir, "small", "train")
    one = take(shuffled(fields, batch_size=6, seed=3), 10)
    parts = [
        take(
            shuffled(fields, batch_size=6, seed=3, process_index=p, process_count=process_count), 10
        )
        for p in range(process_count)
    ]
    for step in range(10):
        together = [i for part in parts for i in part[step]["id"].tolist()]
        assert together == one[step]["id"].tolist()
        assert {len(part[step]["id"]) for part in parts} == {6 // process_count}


@pytest.mark.parametrize("threads", [0, 3])
def test_goes_on_at_the_very_next_field(data_dir, threads):
    fields = open_dataset(data_dir, "small", "train")

    def fresh():
        return iter(
            shuffled(
                fields, batch_size=4, seed=5, process_index=1, process_count=2, threads=threads
            )
        )

    iterator, whole, states = fresh(), [], []
    for _ in range(25):  # over two epochs
        states.append(iterator.get_state())
        whole.append(next(iterator)["id"].tolist())
    for step, state in enumerate(states):
        resumed = fresh()
        resumed.set_state(state)
        assert [next(resumed)["id"].tolist() for _ in range(3)][: 25 - step] == whole[
            step : step + 3
        ]
    iterator.set_state(states[2])  # back, in an iterator that has threads at work ahead
    assert next(iterator)["id"].tolist() == whole[2]


def test_small_and_wrong_requests(data_dir):
    fields = open_dataset(data_dir, "small", "test")
    assert Counter(ids_of(take(shuffled(fields, batch_size=15, seed=0), 1))) == Counter(
        IDS["test"] * 3
    )
    with pytest.raises(InputError, match="batch size 6 cannot be shared out evenly to 4"):
        shuffled(fields, batch_size=6, seed=0, process_count=4)
    none = open_dataset(data_dir, "small", "test", label_ids=[20])
    assert len(none) == 0 and list(eval_batches(none, batch_size=4)) == []
    with pytest.raises(InputError, match="no field"):
        shuffled(none, batch_size=4, seed=0)


# Evaluation batches


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("split, batch_size", [("validation", 4), ("test", 8), ("train", 16)])
def test_evaluation_is_one_pass_with_a_masked_end(data_dir, process_count, split, batch_size):
    fields = open_dataset(data_dir, "small", split)
    parts = [
        list(
            eval_batches(
                fields, batch_size=batch_size, process_index=p, process_count=process_count
            )
        )
        for p in range(process_count)
    ]
    assert {len(part) for part in parts} == {-(-len(fields) // batch_size)}
    seen = {}
    for p, part in enumerate(parts):
        for step, batch in enumerate(part):
            assert batch["mask"].dtype == bool and batch["image"].shape == (
                batch_size // process_count,
                6,
                8,
                4,
            )
            for row, (field_id, real) in enumerate(
                zip(batch["id"].tolist(), batch["mask"], strict=True)
            ):
                position = step * batch_size + p * (batch_size // process_count) + row
                seen[position] = field_id
                assert real == (position < len(fields))
                if real:
                    np.testing.assert_array_equal(batch["image"][row], pixels_of(field_id))
                    np.testing.assert_array_equal(batch["targets"][row], targets_of([field_id])[0])
                else:
                    assert (
                        field_id == ""
                        and not batch["image"][row].any()
                        and not batch["targets"][row].any()
                    )
    assert [seen[i] for i in range(len(fields))] == fields.ids()


def test_evaluation_resumes_at_every_step(data_dir):
    fields = open_dataset(data_dir, "small", "all")
    grain.experimental.assert_equal_output_after_checkpoint(eval_batches(fields, batch_size=6))


# Without TensorFlow

_HIDE_TENSORFLOW = '''
import importlib, pkgutil, sys

class WithoutTensorFlow:
    """A finder as it would be were TensorFlow not installed. (TFDS also asks `find_spec`, which then gives None.)"""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("tensorflow", "keras", "tf_keras")
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [WithoutTensorFlow(finder) for finder in sys.meta_path]
import hpa_jax
names = [module.name for module in pkgutil.walk_packages(hpa_jax.__path__, "hpa_jax.")]
for name in names:
    importlib.import_module(name)
assert {"hpa_jax.data", "hpa_jax.data.records"} <= set(names), names

from hpa_jax.data import eval_batches, train_batches
from hpa_jax.datasets import open_dataset
from hpa_jax.sampling import Order
fields = open_dataset(sys.argv[1], "small", "all")
next(iter(train_batches(fields, Order([1.0] * len(fields), 0), batch_size=4)))
for batch in eval_batches(fields, batch_size=4):
    for field_id, image in zip(batch["id"], batch["image"]):
        print(field_id, int(image.sum(dtype="int64")))
try:
    import tensorflow
except ModuleNotFoundError:
    print("hidden", len([name for name in sys.modules if name.partition(".")[0] == "tensorflow"]))
'''


def test_everything_imports_and_reads_where_tensorflow_cannot_be_imported(data_dir):
    process = subprocess.run(
        [sys.executable, "-c", _HIDE_TENSORFLOW, str(data_dir)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert process.returncode == 0, process.stderr
    ids = sum(IDS.values(), [])
    wanted = [f"{i} {pixels_of(i).sum(dtype=np.int64)}" for i in ids] + [" 0"] + ["hidden 0"]
    assert process.stdout.splitlines() == wanted
