"""Of a dataset, channels are made of images with rare labels alone where that is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from hpa_jax.data.pipeline import open_split, resolve_data
from hpa_jax.data.sampler import rare_images
from hpa_jax.errors import InputError
from hpa_jax.recipes import load_config
from hpa_jax.serving.synthesize.images import SplitImages


def test_images_with_a_rare_label(small_data):
    fields = {"data__data_dir": str(small_data), "data__name": "synthetic_32"}
    config = load_config("configs/channels.py", **fields, data__eval_split="train")
    config = replace(config, data=resolve_data(replace(config.data, image_size=32)))
    every = SplitImages(config)
    rare = SplitImages(replace(config, channels=replace(config.channels, rare_below=5)))
    dataset = open_split(config.data, "train")
    numbers = np.flatnonzero(rare_images(dataset.targets(), 5))
    assert 0 < len(rare.ids) == len(numbers) < len(every.ids)
    assert rare.ids == [every.ids[number] for number in numbers]
    assert rare.version != every.version
    for place, number in ((0, numbers[0]), (-1, numbers[-1])):
        found = rare.read(range(len(numbers))[place]).square
        np.testing.assert_array_equal(found, dataset.image(int(number)))
    with pytest.raises(InputError, match="there is none; set config.channels.rare_below higher"):
        SplitImages(replace(config, channels=replace(config.channels, rare_below=1)))
