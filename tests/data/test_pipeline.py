"""What the `data` section of a configuration makes of datasets, and that it is never changed."""

import dataclasses
import json

import numpy as np
import pytest
from support.made_datasets import IDS, build_dataset, pixels_of

from hpa_jax.config import Data
from hpa_jax.data import pipeline
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS

MEAN, STD = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
OTHER_MEAN, OTHER_STD = (0.15, 0.25, 0.35, 0.45), (0.55, 0.65, 0.75, 0.85)


def square(image_id):
    return pixels_of(image_id, (8, 8))


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory):
    """A data_dir with the datasets `first` (23 images to train on) and `second` (5), 8 x 8 px."""
    path = tmp_path_factory.mktemp("sources")
    for name, ids, mean, std in (
        ("first", IDS["train"], MEAN, STD),
        ("second", IDS["test"], OTHER_MEAN, OTHER_STD),
    ):
        folder = build_dataset(path, name, {"train": ids}, square)
        statistics = {"statistics": {"mean": mean, "std": std}}
        (folder / "metadata.json").write_text(json.dumps(statistics))
    return path


def test_what_is_left_to_the_data_is_resolved_in_a_copy(two_sources):
    data = Data(data_dir=str(two_sources), name="first")
    before = dataclasses.replace(data)
    resolved = pipeline.resolve_data(data)
    assert data == before
    found = {"mean": MEAN, "std": STD, "image_size": 8, "aspect": "pad", "vocabulary": LABELS}
    assert resolved == dataclasses.replace(data, **found)
    assert pipeline.resolve_data(resolved) == resolved
    assert pipeline.resolve_data(data, pipeline.open_sources(data)) == resolved


def test_what_is_configured_stays(two_sources):
    configured = {"image_size": 6, "mean": STD, "std": MEAN, "aspect": "crop"}
    data = Data(data_dir=str(two_sources), name="first", vocabulary=LABELS, **configured)
    assert pipeline.resolve_data(data) == data
    assert pipeline.open_split(data, "train").image_shape == (6, 6, 4)


def test_statistics_of_several_sources_follow_each_other(two_sources):
    data = Data(data_dir=str(two_sources), name="first", sources=("second:0.5", "first"))
    resolved = pipeline.resolve_data(data)
    assert resolved.mean == OTHER_MEAN + MEAN
    assert resolved.std == OTHER_STD + STD


def test_images_of_a_source_are_drawn_by_its_weight(two_sources):
    data = Data(data_dir=str(two_sources), name="first", sources=("first", "second:2"))
    dataset = pipeline.open_sources(data)
    order = pipeline.make_order(data, dataset, seed=3)
    shown = np.bincount(order.epoch(0), minlength=len(dataset))
    assert shown.tolist() == [1] * 23 + [2] * 5
    again = pipeline.make_order(data, dataset, seed=3)
    other = pipeline.make_order(data, dataset, seed=4)
    assert order.epoch(1).tolist() == again.epoch(1).tolist() != other.epoch(1).tolist()


def test_what_cannot_be_resolved_is_refused(data_dir, two_sources):
    oblong = Data(data_dir=str(data_dir), name="small")
    with pytest.raises(InputError, match="6 x 8 px; set config.data.image_size"):
        pipeline.resolve_data(oblong)
    with pytest.raises(InputError, match="no channel statistics"):
        pipeline.resolve_data(dataclasses.replace(oblong, image_size=8))
    unlabeled = Data(data_dir=str(data_dir), name="small", labels=(20,))
    with pytest.raises(InputError, match=r"no image of split 'test' of small has one of .*\(20,\)"):
        pipeline.open_split(unlabeled, "test")
