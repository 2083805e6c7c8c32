"""Which channel statistics images of a dataset are normalized with."""

import pytest

from hpa_jax.config import Data
from hpa_jax.errors import InputError
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES, IMAGENET
from hpa_jax.transforms.normalize import (
    preparation,
    preparation_by_source,
    statistics_source,
)

FIRST, SECOND = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
STD = (0.2, 0.2, 0.3, 0.3)


def test_one_source():
    data = Data(name="a", mean=FIRST, std=STD, channel_mix="rgb")
    wanted = {"channel_mix": CHANNEL_MIXES["rgb"], "mean": FIRST, "std": STD}
    assert preparation(data) == wanted | {"input_statistics": None}
    assert preparation_by_source(data) == preparation(data)


@pytest.mark.parametrize("name, mean", [("a", FIRST), ("b", SECOND), ("in no source", FIRST)])
def test_images_of_a_dataset_have_its_own_statistics_or_those_of_the_first_source(name, mean):
    data = Data(name=name, sources=("a:2", "b"), mean=FIRST + SECOND, std=STD + STD)
    assert preparation(data)["mean"] == mean
    assert statistics_source(data) == (name if name in ("a", "b") else "a")
    assert preparation_by_source(data)["mean"] == (FIRST, SECOND)


def test_several_sources_may_share_their_statistics():
    data = Data(name="b", sources=("a", "b"), mean=FIRST, std=STD)
    assert preparation(data)["mean"] == FIRST
    assert preparation_by_source(data)["mean"] == (FIRST, FIRST)


def test_statistics_of_the_net_s_own_channels():
    imagenet = {"input_mean": IMAGENET[0], "input_std": IMAGENET[1]}
    data = Data(mean=FIRST, std=STD, channel_mix="rgb", **imagenet)
    assert preparation(data)["input_statistics"] == IMAGENET
    four = Data(mean=FIRST, std=STD, channel_mix="rgby", **imagenet)
    for function in (preparation, preparation_by_source):
        with pytest.raises(InputError, match="config.data.channel_mix='rgby' has 4 channels"):
            function(four)
