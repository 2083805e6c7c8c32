"""The table of mixes, the ways to name one, what is refused, and figures that follow from the stored ones."""

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_mix import IMAGENET, MIXES, mixed_statistics, parse_mix

MEAN, STD = (0.0746, 0.0506, 0.0509, 0.0763), (0.1228, 0.0857, 0.1299, 0.1194)


def test_the_named_mixes_show_what_they_are_named_for():
    field = np.array([0.8, 0.3, 0.2, 0.6])  # red, green, blue, yellow
    shown = {name: np.array(mix) @ field for name, mix in MIXES.items()}
    np.testing.assert_array_equal(shown["rgby"], field)
    np.testing.assert_array_equal(shown["rgb"], field[:3])
    np.testing.assert_array_equal(shown["green"], [0.3])
    np.testing.assert_allclose(
        shown["seed_i"], [0.5, 0.8, 0.5]
    )  # gray of red and blue; green on top of it
    np.testing.assert_allclose(
        shown["seed_ii"], [0.4, 0.3, 0.1]
    )  # half of red, green, half of blue
    np.testing.assert_allclose(
        shown["seed_iii"], [0.55, 0.3, 0.25]
    )  # green merged with red, and with blue


@pytest.mark.parametrize("name", MIXES)
def test_every_mix_is_found_by_its_name_and_by_its_matrix(name):
    mix = parse_mix(name)
    assert mix == MIXES[name] == parse_mix(str(mix)) == parse_mix(str([list(row) for row in mix]))
    assert all(isinstance(value, float) for row in mix for value in row)
    assert hash(mix) is not None  # it is a constant of a jitted function
    assert any(row[CHANNELS.index("green")] for row in mix)


def test_channels_by_name_in_any_order():
    assert parse_mix("blue, red") == ((0, 0, 1, 0), (1, 0, 0, 0))
    assert parse_mix("yellow") == ((0, 0, 0, 1),)
    assert parse_mix("green,green,green") == ((0, 1, 0, 0),) * 3
    assert parse_mix("red,green,blue") == MIXES["rgb"]


def test_matrices_of_whole_and_negative_numbers():
    assert parse_mix(" [[1,0,0,0],[0,-0.5,0.5,0]] ") == ((1, 0, 0, 0), (0, -0.5, 0.5, 0))
    assert len(parse_mix(str([[1, 0, 0, 0]] * 16))) == 16


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
        parse_mix(text)
    line = str(caught.value)
    assert (
        line.startswith("config.data.mix=")
        and fault in line
        and "seed_iii" in line
        and "red,blue,yellow" in line
    )
    assert "\n" not in line and len(line) < 400


def test_a_selection_has_exactly_the_stored_figures():
    for name in ("rgby", "rgb", "green", "yellow,green"):
        picked = [row.index(1) for row in parse_mix(name)]
        assert mixed_statistics(parse_mix(name), MEAN, STD) == (
            tuple(MEAN[c] for c in picked),
            tuple(STD[c] for c in picked),
        )


def test_figures_are_those_of_independent_channels():
    rng = np.random.default_rng(0)
    stored = rng.normal(MEAN, STD, (400_000, 4))
    mix = ((0.5, 0, 0.5, 0), (0.5, 1, 0.5, 0), (0, -2, 0, 0), (0.1, 0.2, 0.3, 0.4))
    mean, std = mixed_statistics(mix, MEAN, STD)
    shown = stored @ np.array(mix).T
    np.testing.assert_allclose(shown.mean(0), mean, atol=1e-3)
    np.testing.assert_allclose(shown.std(0), std, rtol=5e-3)


def test_figures_may_be_arrays_with_one_figure_for_every_image():
    means, stds = np.random.default_rng(1).uniform(0.05, 0.2, (2, 4, 5))
    mean, std = mixed_statistics(MIXES["seed_i"], means, stds)
    for image in range(5):
        one = mixed_statistics(MIXES["seed_i"], means[:, image], stds[:, image])
        np.testing.assert_allclose([m[image] for m in mean], one[0])
        np.testing.assert_allclose([s[image] for s in std], one[1])


def test_attenuation_is_undone_by_figures_that_follow_and_not_by_imagenet_s():
    field = np.array([0.8, 0.3, 0.2, 0.6])

    def normalised(name, figures=None):
        mean, std = figures or mixed_statistics(MIXES[name], MEAN, STD)
        return (np.array(MIXES[name]) @ field - mean) / std

    np.testing.assert_allclose(normalised("seed_ii"), normalised("rgb"))
    assert np.abs(normalised("seed_ii", IMAGENET) - normalised("rgb", IMAGENET)).max() > 0.4
