"""How a dataset's images were made, as its build tells it."""

import json

import numpy as np
import pytest
from support.made_datasets import IDS, build_dataset, pixels_of

from hpa_jax.config import Config, Data
from hpa_jax.data.pipeline import identify, open_sources
from hpa_jax.data.preparation import read_preparation, stored_pixel_size
from hpa_jax.workdir import claim, read_record

BUILD = {"pixel_size": 0.1, "white": {"8": 255, "16": 4095}, "edge": None, "rescaled_to": 0.08}


def histogram():
    """Of 23 images of 6 x 8 px: yellow was not imaged."""
    images = np.stack([pixels_of(image_id) for image_id in IDS["train"]])
    images[..., 3] = 0
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(4)]
    return images, np.stack(counts)


@pytest.fixture
def dataset(tmp_path):
    folder = build_dataset(tmp_path, "own", {"train": IDS["train"]})

    def describe(**metadata):
        (folder / "metadata.json").write_text(json.dumps(metadata))
        return read_preparation(tmp_path, "own")

    return describe


def test_what_a_build_has_stored(dataset):
    images, counts = histogram()
    fractions = images.reshape(-1, 4) / 255
    statistics = {
        "histogram": counts.tolist(),
        "mean": fractions.mean(0).tolist(),
        "std": [*fractions.std(0)[:3].tolist(), 1.0],
    }
    found = dataset(build=BUILD, statistics=statistics)
    assert found["pixel_size"] == 0.1 and found["rescaled_to"] == 0.08
    assert found["white"] == BUILD["white"] and found["edge"] == 0 and found["size"] == [6, 8]
    assert found["channels"] == ["red", "green", "blue"] == list(found["intensities"])
    for number, channel in enumerate(found["channels"]):
        values = found["intensities"][channel]
        np.testing.assert_allclose(values["mean"], fractions[:, number].mean())
        for quantile, value in values["quantiles"].items():
            wanted = np.quantile(fractions[:, number], float(quantile), method="inverted_cdf")
            np.testing.assert_allclose(value, wanted)
    assert list(values["quantiles"]) == ["0.01", "0.5", "0.99"]
    assert stored_pixel_size(found) == 0.08


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"build": None, "statistics": 3},
        {"build": {"pixel_size": "0.1", "edge": -1}, "statistics": {"histogram": [1]}},
    ],
)
def test_what_is_not_known_is_none(dataset, metadata):
    found = dataset(**metadata)
    assert found.pop("size") == [6, 8] and found.pop("edge") == 0
    assert set(found.values()) == {None}


def test_a_pixel_size_that_the_files_tell_is_the_datasets(dataset):
    assert dataset(build={"pixel_size": None}, pixel_size=0.3)["pixel_size"] == 0.3
    edge = dataset(build={"pixel_size": 0.3, "edge": 512}, pixel_size=None)
    assert edge["pixel_size"] == 0.3 and stored_pixel_size(edge) is None


def test_a_run_keeps_it(tmp_path, dataset):
    wanted = dataset(build=BUILD)
    data = Data(data_dir=str(tmp_path), name="own", image_size=32, mean=(0.1,) * 4, std=(1.0,) * 4)
    (tmp_path / "run").mkdir()
    claim(tmp_path / "run", Config(data=data), identify(data, open_sources(data)))
    assert read_record(tmp_path / "run").preparations == {"own": wanted}
