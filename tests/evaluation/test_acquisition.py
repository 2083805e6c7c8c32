"""Images of other channels or another scale than a run was trained on are told of."""

import pytest

from hpa_jax.config import Data
from hpa_jax.evaluation.acquisition import compare

FOUR = ["red", "green", "blue", "yellow"]
TRAINED = {
    "pixel_size": 0.08,
    "white": None,
    "edge": 0,
    "rescaled_to": None,
    "size": [512, 512],
    "channels": FOUR,
    "intensities": None,
}


def warnings(found, trained=None, **settings):
    """What is said of a dataset `new`, to a run on `old` or on several."""
    trained = trained or {"old": TRAINED}
    data = Data(name="new", sources=tuple(trained), image_size=128, aspect="pad", **settings)
    return compare("runs/one", data, trained, "new", found)


def changed(**values):
    return {**TRAINED, **values}


def test_images_of_the_same_kind_are_nothing_to_speak_of():
    assert warnings(TRAINED) == []
    assert warnings(changed(pixel_size=0.0815)) == []


def test_a_channel_that_was_not_imaged():
    (line,) = warnings(changed(channels=["red", "green"]))
    assert "trained on images of red, green, blue and yellow (old)" in line
    assert "in new blue and yellow were not imaged and are black" in line
    assert "--config.augment.channel_dropout" in line and "\n" not in line


def test_a_channel_that_the_net_does_not_see_is_not_missed():
    assert warnings(changed(channels=["red", "green", "blue"]), channel_mix="green,blue") == []


def test_a_channel_that_the_run_has_only_seen_black():
    three = {"old": changed(channels=["red", "green", "blue"])}
    (line,) = warnings(TRAINED, three)
    assert "in new yellow was imaged, too, which the run has only seen black" in line


def test_a_channel_that_one_of_the_sources_had_is_known():
    both = {"a": changed(channels=["red", "green", "blue"]), "b": TRAINED}
    assert warnings(TRAINED, both) == []


def test_another_pixel_size():
    (line,) = warnings(changed(pixel_size=0.65))
    assert "0.32 micrometres (old)" in line and "2.6 in new" in line
    assert "8.1 times smaller" in line
    (line,) = warnings(changed(pixel_size=0.04))
    assert "2 times larger" in line


def test_what_counts_is_the_scale_that_the_net_sees():
    # The same field in four times as many pixels, resized to the same square.
    assert warnings(changed(pixel_size=0.04, size=[1024, 1024])) == []
    (line,) = warnings(changed(size=[1024, 1024]))
    assert "2 times smaller" in line
    rescaled = changed(pixel_size=0.65, rescaled_to=0.08)
    assert warnings(rescaled) == []


@pytest.mark.parametrize(
    "unknown", [{"pixel_size": None}, {"size": None}, {"edge": 512}, {"channels": None}]
)
def test_what_is_not_known_is_not_compared(unknown):
    assert warnings(changed(**unknown)) == []
    assert warnings(changed(pixel_size=0.08), {"old": changed(**unknown)}) == []
