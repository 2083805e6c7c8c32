"""Channels that a net has made, in the place of those of images with a rare label."""

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest

from hpa_jax.config import Data
from hpa_jax.data.generated import TABLE, GeneratedChannels
from hpa_jax.data.loader import train_batches
from hpa_jax.data.pipeline import open_sources, resolve_data
from hpa_jax.data.sampler import Order, rare_images
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.recipes import load_config
from hpa_jax.training.tasks.classification import ClassificationTask
from hpa_jax.training.tasks.metric import MetricTask

IDS = ("a", "b")


def write_pictures(folder, pictures, side=8):
    """A folder of --mode=synthesize: each picture, (Id, channel), has a value of its own."""
    folder.mkdir()
    rows = []
    for number, (image_id, channel) in enumerate(pictures, start=1):
        name = f"{image_id}_{channel}.png"
        cv2.imwrite(str(folder / name), np.full((side, side), 200 + number, np.uint8))
        rows.append((image_id, channel, name, "red blue", "net"))
    with open(folder / TABLE, "w", newline="") as file:
        csv.writer(file).writerows([("id", "channel", "file", "from", "net"), *rows])
    return folder


def generated(*folders, ids=IDS, probability=0.5):
    names = {image_id: image_id for image_id in ids}
    return GeneratedChannels(folders, names, probability=probability, seed=3, aspect="pad")


def example(image_id="a", side=8):
    return {"id": image_id, "image": np.full((side, side, 4), 7, np.uint8)}


def test_one_channel_at_a_time_is_taken_and_the_same_again_at_the_same_position(tmp_path):
    yellow = write_pictures(tmp_path / "yellow", [("a", "yellow"), ("b", "yellow")])
    red = write_pictures(tmp_path / "red", [("a", "red")])
    vary = generated(yellow, red)
    assert vary.count == 2
    counts = dict.fromkeys(("", "red", "yellow"), 0)
    for position in range(400):
        before = example()
        found = vary(before, position)["image"]
        assert (before["image"] == 7).all()
        changed = [channel for channel in range(4) if (found[..., channel] != 7).any()]
        assert len(changed) <= 1
        for channel in changed:
            assert (found[..., channel] == 201).all()
        counts[CHANNELS[changed[0]] if changed else ""] += 1
        np.testing.assert_array_equal(found, generated(yellow, red)(example(), position)["image"])
    assert 160 < counts[""] < 240 and counts["red"] > 60 and counts["yellow"] > 60
    assert vary(example("c"), 0)["image"].max() == 7


def test_pictures_have_the_ids_that_sources_gave_and_images_those_of_the_dataset(tmp_path):
    folder = write_pictures(tmp_path / "made", [("a", "red")])
    vary = GeneratedChannels([folder], {"a": "safe"}, probability=1.0, seed=0, aspect="pad")
    assert (vary(example("safe"), 0)["image"][..., 0] == 201).all()
    assert vary(example("a"), 0)["image"].max() == 7


def test_pictures_are_made_to_fit_as_their_images_are(tmp_path):
    folder = write_pictures(tmp_path / "made", [("a", "red")], side=16)
    found = generated(folder, probability=1.0)(example(), 0)["image"]
    assert (found[..., 0] == 201).all()
    oblong = {"id": "a", "image": np.zeros((8, 12, 4), np.uint8)}
    with pytest.raises(InputError, match="16 x 16 px, its image 8 x 12 px"):
        generated(folder, probability=1.0)(oblong, 0)


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/synthesized.csv cannot be read"):
        generated(tmp_path / "nowhere")
    folder = write_pictures(tmp_path / "made", [("a", "red"), ("b", "red")])
    with pytest.raises(InputError, match="none of the 1 images with a rare label"):
        generated(folder, ids=["c"])
    vary = generated(folder, probability=1.0)
    (folder / "a_red.png").write_bytes((folder / "a_red.png").read_bytes()[:40])
    (folder / "b_red.png").unlink()
    for image_id in IDS:
        with pytest.raises(InputError, match=f"{image_id}_red.png cannot be read"):
            vary(example(image_id), 0)
    (folder / TABLE).write_text("id,channel,file\na,red,../a_red.png\n")
    with pytest.raises(InputError, match="line 2: no picture of a channel"):
        generated(folder)


def test_batches_have_them(tmp_path, small_data):
    dataset = open_sources(resolve_data(Data(data_dir=str(small_data), name="synthetic_32")))
    rare = dataset.ids()[5]
    side = dataset.image_shape[0]
    folder = write_pictures(tmp_path / "made", [(rare, "blue")], side=side)
    vary = generated(folder, ids=[rare], probability=1.0)
    order = Order(np.ones(len(dataset)), seed=0)
    batches = iter(train_batches(dataset, order, batch_size=len(dataset), threads=0, vary=vary))
    batch = next(batches)
    is_rare = batch["id"] == rare
    assert is_rare.sum() == 1
    assert (batch["image"][is_rare][..., 2] == 201).all()
    assert not (batch["image"][~is_rare][..., 2] == 201).all((1, 2)).any()


def test_rare_images_get_them_in_classification_and_no_other_task_takes_them(tmp_path, small_data):
    config = load_config("configs/quickstart.py", data__data_dir=str(small_data))
    data = replace(config.data, name="synthetic_32", rare_below=5)
    config = replace(config, data=resolve_data(data))
    dataset = open_sources(config.data)
    ids = np.array(dataset.ids())
    is_rare = rare_images(dataset.targets(), 5)
    assert 0 < is_rare.sum() < len(ids)
    folder = write_pictures(tmp_path / "made", [(name, "red") for name in ids[:40]])
    assert ClassificationTask.make_variation(config, dataset) is None
    wanted = replace(config, augment=replace(config.augment, generated=str(folder)))
    assert ClassificationTask.make_variation(wanted, dataset).count == is_rare[:40].sum()
    with pytest.raises(InputError, match="generated=.* is for config.train.task='classification'"):
        MetricTask.make_variation(wanted, dataset)
