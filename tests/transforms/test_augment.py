"""What the net is shown: channels, normalisation, symmetries, windows."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.parallel.mesh import batch_sharding, make_mesh
from hpa_jax.transforms.augment import augment_images, prepare
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES, IMAGENET, parse_channel_mix
from hpa_jax.transforms.geometry import warp_upright

MEAN, STD = (0.0746, 0.0506, 0.0509, 0.0763), (0.1228, 0.0857, 0.1299, 0.1194)
EVERYTHING = {"flips": True, "rotate_degrees": 30.0, "scale": (0.7, 1.2), "shift": 0.1}


def images(batch=4, height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, 4), np.uint8)


def reference(stored, channel_mix, mean, std):
    """The same in NumPy, float64; `mean` and `std` `[4]` or `[B, 4]`."""
    mix = np.array(channel_mix)
    mean, std = np.array(mean), np.array(std)
    input_mean, input_std = mean @ mix.T, np.sqrt(std**2 @ (mix**2).T)
    if mean.ndim == 2:
        input_mean, input_std = input_mean[:, None, None], input_std[:, None, None]
    return (stored.astype(np.float64) / 255 @ mix.T - input_mean) / input_std


@pytest.mark.parametrize(
    "channel_mix", [*CHANNEL_MIXES, "blue,green", "[[0.3,-1.7,0.01,2],[0,0,3,0]]"]
)
def test_prepare_mixes_and_normalizes(channel_mix):
    shown = jax.jit(lambda stored: prepare(stored, parse_channel_mix(channel_mix), MEAN, STD))(
        images()
    )
    np.testing.assert_allclose(
        shown, reference(images(), parse_channel_mix(channel_mix), MEAN, STD), rtol=2e-6, atol=2e-6
    )
    assert shown.dtype == jnp.float32


@pytest.mark.parametrize("channels", [(0, 1, 2, 3), (0, 1, 2), (1,), (2, 1), (3, 3)])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_selection_is_bit_for_bit_the_channels_divided_and_normalized(channels, compiled):
    def plain(stored):  # without any channel mix: as models of version 0.1 were trained
        picked = jnp.stack([stored[..., c] for c in channels], axis=-1).astype(jnp.float32)
        mean = jnp.array([MEAN[c] for c in channels], jnp.float32)
        std = jnp.array([STD[c] for c in channels], jnp.float32)
        return (picked / 255 - mean) / std

    selection = parse_channel_mix(",".join(("red", "green", "blue", "yellow")[c] for c in channels))
    wrap = jax.jit if compiled else (lambda f: f)
    for stored in (images(), images().astype(np.float32) * np.float32(0.7)):
        mixed = wrap(lambda stored: prepare(stored, selection, MEAN, STD))(stored)
        np.testing.assert_array_equal(mixed, wrap(plain)(stored))


@pytest.mark.parametrize("name", ["rgby", "hpa_densenet_i", "hpa_densenet_iii"])
def test_each_image_may_have_statistics_of_its_own(name):
    channel_mix = parse_channel_mix(name)
    means, stds = np.random.default_rng(2).uniform(0.05, 0.2, (2, 4, 4)).astype(np.float32)
    function = jax.jit(lambda stored, mean, std: prepare(stored, channel_mix, mean, std))
    shown = function(images(), means, stds)
    wanted = reference(images(), channel_mix, means, stds)
    np.testing.assert_allclose(shown, wanted, rtol=3e-6, atol=3e-6)
    for i in range(4):
        mean, std = tuple(means[i].tolist()), tuple(stds[i].tolist())
        alone = prepare(images()[i : i + 1], channel_mix, mean, std)
        np.testing.assert_allclose(shown[i], alone[0], rtol=1e-6, atol=1e-6)


def test_the_net_s_channels_may_have_statistics_of_their_own():
    channel_mix = CHANNEL_MIXES["hpa_densenet_ii"]
    shown = prepare(images(), channel_mix, MEAN, STD, input_statistics=IMAGENET)
    wanted = (images() / 255 @ np.array(channel_mix).T - IMAGENET[0]) / IMAGENET[1]
    np.testing.assert_allclose(shown, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["rgby", "hpa_densenet_i", "[[0.3,-1.7,0.01,2]]"])
@pytest.mark.parametrize("own_statistics", [False, True])
def test_eight_devices_show_what_one_shows(name, own_statistics):
    channel_mix, mean, std = parse_channel_mix(name), MEAN, STD
    if own_statistics:
        mean, std = np.random.default_rng(2).uniform(0.05, 0.2, (2, 16, 4)).astype(np.float32)
    function = jax.jit(lambda stored: prepare(stored, channel_mix, mean, std))
    one = function(images(16))
    sharded = function(jax.device_put(images(16), batch_sharding(make_mesh())))
    np.testing.assert_array_equal(sharded, one)
    assert len({shard.device for shard in sharded.addressable_shards}) == 8


def test_the_draws_are_those_of_version_0_1():
    """From the same keys in the same order, whatever was added since: runs of then replay."""
    key = jax.random.key(11)
    flip_key, _, scale_key, shift_key = jax.random.split(key, 4)
    flipped = images().astype(np.float32)
    for i, which in enumerate(jax.random.randint(flip_key, (4,), 0, 8).tolist()):
        one = flipped[i][::-1] if which & 1 else flipped[i]
        one = one[:, ::-1] if which & 2 else one
        flipped[i] = one.swapaxes(0, 1) if which & 4 else one
    np.testing.assert_array_equal(augment_images(images(), key, flips=True), flipped)
    side = jnp.exp(jax.random.uniform(scale_key, (4,), minval=jnp.log(0.7), maxval=jnp.log(1.2)))
    center = jax.random.uniform(shift_key, (4, 2), minval=-0.1, maxval=0.1)
    zoomed = augment_images(images(), key, flips=True, scale=(0.7, 1.2), shift=0.1)
    np.testing.assert_allclose(zoomed, warp_upright(flipped, side, center), atol=1e-3)


@pytest.mark.parametrize(
    "settings", [{"flips": True}, {"flips": False, "scale": (0.7, 1.2), "shift": 0.1}]
)
def test_images_outside_rows_keep_their_pixels_and_the_others_are_augmented_as_ever(settings):
    rows = np.array([True, False, False, True])
    every, some = (
        augment_images(images(), jax.random.key(5), rows=r, **settings) for r in (None, rows)
    )
    np.testing.assert_array_equal(some[~rows], images()[~rows])
    np.testing.assert_array_equal(some[rows], every[rows])
    assert not np.array_equal(every[~rows], images()[~rows])


@pytest.mark.parametrize(
    "settings", [{"flips": False}, {"flips": True, "scale": (0.7, 1.2), "shift": 0.1}]
)
def test_channel_dropout_blackens_reference_channels_and_leaves_every_other_draw(settings):
    stored = np.maximum(images(512, 8, 8), 1)
    key = jax.random.key(7)
    complete = np.asarray(augment_images(stored, key, **settings))
    dropped = np.asarray(augment_images(stored, key, channel_dropout=0.3, **settings))
    black = (dropped == 0).all((1, 2))
    np.testing.assert_array_equal(dropped, np.where(black[:, None, None], 0, complete))
    assert not black[:, 1].any()  # green is the protein
    fractions = black[:, [0, 2, 3]].mean(0)
    assert (np.abs(fractions - 0.3) < 0.07).all()
    together = black[:, [0, 2, 3]].all(1).mean()  # independent: all three go in 0.027 of the images
    assert 0.005 < together < 0.06


def test_channel_dropout_ignores_rows():
    dropped = augment_images(
        images(), jax.random.key(0), flips=True, rows=np.zeros(4, bool), channel_dropout=1.0
    )
    np.testing.assert_array_equal(dropped, images() * np.array([0, 1, 0, 0]))


def test_eight_devices_augment_rows_and_drop_channels_as_one_does():
    rows = np.arange(16) % 3 == 0
    function = jax.jit(
        lambda stored, rows: augment_images(
            stored, jax.random.key(3), rows=rows, channel_dropout=0.5, **EVERYTHING
        )
    )
    one = function(images(16), rows)
    sharded = function(*jax.device_put((images(16), rows), batch_sharding(make_mesh())))
    np.testing.assert_array_equal(sharded, one)


def test_without_settings_nothing_changes():
    np.testing.assert_array_equal(
        augment_images(images(), jax.random.key(0), flips=False), images()
    )


def test_flips_are_the_eight_symmetries_evenly():
    one = np.repeat(images(1), 800, axis=0)
    flipped = np.asarray(augment_images(one, jax.random.key(0), flips=True))
    symmetries = [np.rot90(side, k) for side in (one[0], one[0][::-1]) for k in range(4)]
    counts = [sum(np.array_equal(image, symmetry) for image in flipped) for symmetry in symmetries]
    assert sum(counts) == 800 and min(counts) > 60


def test_images_that_are_not_square_keep_their_shape():
    assert augment_images(
        images(height=32, width=48), jax.random.key(0), flips=True, scale=(0.5, 1)
    ).shape == (4, 32, 48, 4)


def test_nothing_is_gathered():
    """A TPU gathers pixel by pixel: that was three quarters of a step's bytes at 1024 px."""
    program = jax.make_jaxpr(lambda stored, key: augment_images(stored, key, **EVERYTHING))(
        images(), jax.random.key(0)
    )
    primitives = re.findall(r"= (\w+)\[?", str(program))
    assert "dot_general" in primitives and "select_n" in primitives
    assert not {"gather", "scatter", "dynamic_slice"} & set(primitives)


@pytest.mark.parametrize("seed", range(3))
def test_every_image_is_drawn_for_itself(seed):
    same = np.repeat(images(1), 8, axis=0)
    drawn = np.asarray(
        augment_images(same, jax.random.key(seed), flips=False, scale=(0.6, 0.9), shift=0.1)
    )
    assert len({image.tobytes() for image in drawn}) == 8
