"""The channel mixes, how to name one, what is refused, and the statistics that follow."""

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_mix import (
    CHANNEL_MIXES,
    IMAGENET,
    channels_of_mix,
    mixed_statistics,
    parse_channel_mix,
)

MEAN, STD = (0.0746, 0.0506, 0.0509, 0.0763), (0.1228, 0.0857, 0.1299, 0.1194)


def test_the_named_channel_mixes_show_what_they_are_named_for():
    pixel = np.array([0.8, 0.3, 0.2, 0.6])  # red, green, blue, yellow
    shown = {name: np.array(mix) @ pixel for name, mix in CHANNEL_MIXES.items()}
    np.testing.assert_array_equal(shown["rgby"], pixel)
    np.testing.assert_array_equal(shown["rgb"], pixel[:3])
    np.testing.assert_array_equal(shown["green"], [0.3])
    np.testing.assert_allclose(
        shown["hpa_densenet_i"], [0.5, 0.8, 0.5]
    )  # gray of red and blue; green on top of it
    np.testing.assert_allclose(
        shown["hpa_densenet_ii"], [0.4, 0.3, 0.1]
    )  # half of red, green, half of blue
    np.testing.assert_allclose(
        shown["hpa_densenet_iii"], [0.55, 0.3, 0.25]
    )  # green merged with red, and with blue


@pytest.mark.parametrize("name", CHANNEL_MIXES)
def test_every_channel_mix_is_found_by_its_name_and_by_its_matrix(name):
    mix = parse_channel_mix(name)
    assert (
        mix
        == CHANNEL_MIXES[name]
        == parse_channel_mix(str(mix))
        == parse_channel_mix(str([list(row) for row in mix]))
    )
    assert all(isinstance(value, float) for row in mix for value in row)
    assert hash(mix) is not None  # it is a constant of a jitted function
    assert any(row[CHANNELS.index("green")] for row in mix)


def test_channels_by_name_in_any_order():
    assert parse_channel_mix("blue, red") == ((0, 0, 1, 0), (1, 0, 0, 0))
    assert parse_channel_mix("yellow") == ((0, 0, 0, 1),)
    assert parse_channel_mix("green,green,green") == ((0, 1, 0, 0),) * 3
    assert parse_channel_mix("red,green,blue") == CHANNEL_MIXES["rgb"]


def test_the_channels_that_a_mix_reads():
    assert channels_of_mix("hpa_densenet_iii") == ("red", "green", "blue")
    assert channels_of_mix("yellow,blue") == ("blue", "yellow")
    assert channels_of_mix("[[0, 0, -1, 0]]") == ("blue",)


def test_matrices_of_whole_and_negative_numbers():
    assert parse_channel_mix(" [[1,0,0,0],[0,-0.5,0.5,0]] ") == ((1, 0, 0, 0), (0, -0.5, 0.5, 0))
    assert len(parse_channel_mix(str([[1, 0, 0, 0]] * 16))) == 16


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is unknown"),
        ("rgbx", "is unknown"),
        ("red,,blue", "is unknown"),
        ("red,violet", "is unknown"),
        ("Red", "is unknown"),
        (",".join(["red"] * 17), "has 17 channels"),
        ("[]", "has 0 rows"),
        (str([[1, 0, 0, 0]] * 17), "has 17 rows"),
        ("[[1,0,0]]", "has 3 columns in row 1"),
        ("[[1,0,0,0],[1,0,0,0,0]]", "has 5 columns in row 2"),
        ("[[],[1,0,0,0]]", "has 0 columns in row 1"),
        ("[[1,0,0,0],[0,0,0,0]]", "shows nothing in row 2"),
        ("[[1e-60,0,0,0]]", "shows nothing in row 1"),
        ("[[1e999,0,0,0]]", "has a coefficient above 1e+06 in row 1"),
        ("[[0,-1e7,0,0]]", "has a coefficient above 1e+06 in row 1"),
        (f"[[{10**400},0,0,0]]", "has a coefficient above 1e+06 in row 1"),
        ("[[0,1e999-1e999,0,0]]", "cannot be read"),
        ("[[nan,0,0,1]]", "cannot be read"),
        ("[[True,0,0,0]]", "cannot be read"),
        ("[['1',0,0,0]]", "cannot be read"),
        ("[[1j,0,0,0]]", "cannot be read"),
        ("[1,0,0,0]", "cannot be read"),
        ("[(1)(2)]", "cannot be read"),
        ("[[1,0,0,0]", "cannot be read"),
        ("[__import__('os').getcwd()]", "cannot be read"),
        ("[" * 9000, "cannot be read"),
        ("[[1,0,0,0]]" + " " * 20000, "cannot be read"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(text, fault):
    with pytest.raises(InputError) as caught:
        parse_channel_mix(text)
    line = str(caught.value)
    assert (
        line.startswith("config.data.channel_mix=")
        and fault in line
        and "hpa_densenet_iii" in line
        and "red,blue,yellow" in line
    )
    assert "\n" not in line and len(line) < 400


def test_a_selection_has_exactly_the_stored_statistics():
    for name in ("rgby", "rgb", "green", "yellow,green"):
        picked = [row.index(1) for row in parse_channel_mix(name)]
        assert mixed_statistics(parse_channel_mix(name), MEAN, STD) == (
            tuple(MEAN[c] for c in picked),
            tuple(STD[c] for c in picked),
        )


def test_statistics_are_those_of_independent_channels():
    rng = np.random.default_rng(0)
    stored = rng.normal(MEAN, STD, (400_000, 4))
    mix = ((0.5, 0, 0.5, 0), (0.5, 1, 0.5, 0), (0, -2, 0, 0), (0.1, 0.2, 0.3, 0.4))
    mean, std = mixed_statistics(mix, MEAN, STD)
    shown = stored @ np.array(mix).T
    np.testing.assert_allclose(shown.mean(0), mean, atol=1e-3)
    np.testing.assert_allclose(shown.std(0), std, rtol=5e-3)


def test_statistics_may_be_arrays_with_a_value_for_every_image():
    means, stds = np.random.default_rng(1).uniform(0.05, 0.2, (2, 4, 5))
    mean, std = mixed_statistics(CHANNEL_MIXES["hpa_densenet_i"], means, stds)
    for image in range(5):
        one = mixed_statistics(CHANNEL_MIXES["hpa_densenet_i"], means[:, image], stds[:, image])
        np.testing.assert_allclose([m[image] for m in mean], one[0])
        np.testing.assert_allclose([s[image] for s in std], one[1])


def test_attenuation_is_undone_by_statistics_that_follow_and_not_by_imagenet_s():
    pixel = np.array([0.8, 0.3, 0.2, 0.6])

    def normalized(name, statistics=None):
        mean, std = statistics or mixed_statistics(CHANNEL_MIXES[name], MEAN, STD)
        return (np.array(CHANNEL_MIXES[name]) @ pixel - mean) / std

    np.testing.assert_allclose(normalized("hpa_densenet_ii"), normalized("rgb"))
    assert np.abs(normalized("hpa_densenet_ii", IMAGENET) - normalized("rgb", IMAGENET)).max() > 0.4
