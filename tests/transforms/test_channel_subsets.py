"""Which channels a net is shown, and which it is to predict from which."""

import jax
import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_subsets import (
    draw_shown,
    pairs_of,
    parse_channels,
    shown_subsets,
)


def test_something_is_shown_and_something_is_left_to_predict():
    references = ("red", "blue", "yellow")
    drawn = np.asarray(draw_shown(jax.random.key(0), 200, references, references))
    assert drawn.shape == (200, 4) and not drawn[:, 1].any()
    assert (drawn.sum(1) >= 1).all() and (drawn.sum(1) <= 2).all()
    # Three single channels and three pairs, each about as often.
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and counts.min() > 15
    # Green may be shown if asked for, never alone; one target leaves the others always free.
    with_green = shown_subsets(("yellow",), CHANNELS)
    assert [False, True, False, False] not in with_green
    assert all(not shown[3] for shown in with_green) and len(with_green) == 6
    with pytest.raises(InputError, match="name another source"):
        shown_subsets(("yellow",), ("green", "yellow"))


def test_names_and_pairs():
    assert parse_channels("yellow, red", "x") == ("red", "yellow")
    pairs = pairs_of(("red", "yellow"), ("red", "blue", "yellow"))
    assert [str(pair) for pair in pairs] == ["red <- blue, yellow", "yellow <- red, blue"]
    assert pairs[1].key == "yellow_from_red_blue"
    for text, message in (("cyan", "no channel"), ("red,red", "twice"), ("", "no channel")):
        with pytest.raises(InputError, match=f"config.channels.targets=.*{message}"):
            parse_channels(text, "config.channels.targets")
    with pytest.raises(InputError, match="no other channel"):
        pairs_of(("red",), ("red",))
