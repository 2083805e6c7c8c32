"""The task `channels`: what its net sees, what counts, how it is evaluated, what is refused."""

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import pearsonr
from support.compiling import compile_quickly

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.optim.image_losses import make_image_loss
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.recipes import load_config
from hpa_jax.training.tasks import channel_steps, channels, make_task
from hpa_jax.training.tasks.channel_steps import OUTPUT, ChannelForms
from hpa_jax.transforms.channel_subsets import pairs_of

REFERENCES = ("red", "blue", "yellow")
FORMS = ChannelForms(
    targets=("red", "yellow"),
    sources=REFERENCES,
    preparation={
        "channel_mix": ((1.0, 0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0)),
        "mean": (0.1, 0.2, 0.3, 0.4),
        "std": (0.5, 0.6, 0.7, 0.8),
    },
    target_mean=(0.1, 0.4),
    target_std=(0.5, 0.8),
)


class Mixing(nn.Module):
    """In the place of a U-Net: every target a sum of what the net takes, pixel by pixel."""

    @nn.compact
    def __call__(self, x, *, train):
        return {OUTPUT: nn.Dense(2)(x)}


def images(count=3, side=12):
    made = np.random.default_rng(0).integers(1, 256, (count, side, side, 4)).astype(np.uint8)
    made[1, ..., 3] = 0  # of the second image yellow was not imaged
    return made


@cache
def seen_by_the_net():
    """What the net takes of images and of the channels that are shown, compiled once."""

    def inputs(pixels, shown):
        return channel_steps.net_inputs(pixels, shown, REFERENCES, FORMS.preparation)

    return compile_quickly(inputs, images(), np.ones((3, 4), bool))


def test_the_net_sees_what_is_shown_and_is_told_what_is_not():
    shown = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 1, 1]], bool)
    found = np.asarray(seen_by_the_net()(images(), shown))
    assert found.shape == (3, 12, 12, 6)
    for place, channel in enumerate((0, 2, 3)):
        expected = np.where(shown[:, None, None, channel], images()[..., channel], 0) / 255
        mean, std = FORMS.preparation["mean"][channel], FORMS.preparation["std"][channel]
        np.testing.assert_allclose(found[..., place], (expected - mean) / std, atol=1e-6)
        flags = np.broadcast_to(~shown[:, None, None, channel], (3, 12, 12))
        np.testing.assert_array_equal(found[..., 3 + place], flags)


def test_a_step_learns_from_targets_that_are_hidden_and_were_imaged():
    model = Mixing()
    objective = channel_steps.channel_objective(
        model, make_image_loss("l1"), FORMS, augmentation={"flips": False}, mesh=None
    )
    batch = {"image": jnp.array(images()), "source": jnp.zeros(3, jnp.int32)}
    prepare = compile_quickly(objective.prepare, batch, jax.random.key(0))
    seen = set()
    for seed in range(8):
        inputs = prepare(batch, jax.random.key(seed))
        flags = np.asarray(inputs.inputs[:, 0, 0, 3:]) > 0
        mask = np.asarray(inputs.mask)
        # Red counts where it is hidden; yellow too, but for the image that has none.
        np.testing.assert_array_equal(mask[:, 0], flags[:, 0])
        np.testing.assert_array_equal(mask[:, 1], flags[:, 2] & [True, False, True])
        assert not mask.all(1)[flags.sum(1) < 2].any()
        seen |= {tuple(row) for row in flags[[0, 2]]}
    assert len(seen) > 2
    kernel = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    variables = {"params": {"Dense_0": {"kernel": kernel, "bias": np.zeros(2, np.float32)}}}
    arguments = (variables, inputs, jnp.int32(0), jax.random.key(1))
    value, (metrics, _) = compile_quickly(objective.loss, *arguments)(*arguments)
    outputs = np.asarray(inputs.inputs) @ kernel
    predicted = np.array([0.1, 0.4]) + np.array([0.5, 0.8]) * outputs
    truth = images()[..., [0, 3]] / 255
    by_pair = np.abs(predicted - truth).mean((1, 2))
    assert value == pytest.approx(by_pair[mask].mean(), rel=1e-5)
    assert -1 <= metrics["pearson"] <= 1


def test_a_step_sees_a_crop_of_each_image_and_what_was_imaged_of_all_of_it():
    dark_outside = images(side=40)
    dark_outside[0, :, :, 0] = 0
    dark_outside[0, 0, 0, 0] = 9
    objective = channel_steps.channel_objective(
        Mixing(), make_image_loss("l1"), FORMS, augmentation={"flips": False}, mesh=None, crop=32
    )
    batch = {"image": jnp.array(dark_outside), "source": jnp.zeros(3, jnp.int32)}
    prepare = compile_quickly(objective.prepare, batch, jax.random.key(0))
    found = [prepare(batch, jax.random.key(seed)) for seed in range(8)]
    places = set()
    for of_seed in found:
        assert of_seed.truth.shape == (3, 32, 32, 2)
        truth = np.asarray(of_seed.truth[2] * 255).round()
        for row, column in np.ndindex(9, 9):
            crop = dark_outside[2, row : row + 32, column : column + 32][..., [0, 3]]
            if np.array_equal(crop, truth):
                places.add((row, column))
    assert len(places) == 8
    # Of the first image all but one pixel of red is black: it was imaged, and may be a target.
    assert any(of_seed.mask[0, 0] for of_seed in found)


def test_an_evaluation_sums_correlations_of_images_that_count():
    model = Mixing()
    kernel = np.random.default_rng(2).normal(size=(6, 2)).astype(np.float32) / 4
    variables = {"params": {"Dense_0": {"kernel": kernel, "bias": np.zeros(2, np.float32)}}}
    pairs = pairs_of(FORMS.targets, REFERENCES)
    zeros = np.zeros(2, np.float32)
    batch = {"image": images(), "mask": np.array([True, True, False])}
    arguments = ((zeros, zeros), variables, batch)
    step = channel_steps.make_sum_step(model, FORMS, pairs)
    totals, counts = compile_quickly(step, *arguments)(*arguments)
    np.testing.assert_array_equal(counts, [2, 1])
    for number, pair in enumerate(pairs):
        shown = np.array([[name in pair.sources for name in CHANNELS]] * 3)
        shown[1, 3] = False
        outputs = np.asarray(seen_by_the_net()(images(), shown)) @ kernel
        predicted = np.clip(np.array([0.1, 0.4]) + np.array([0.5, 0.8]) * outputs, 0, 1)
        expected = 0.0
        for image in range(int(counts[number])):
            truth = images()[image, ..., CHANNELS.index(pair.target)]
            expected += pearsonr(predicted[image, ..., number].ravel(), truth.ravel()).statistic
        assert totals[number] == pytest.approx(expected, abs=1e-5)


def channels_config(**fields):
    made = {"data__image_size": 32, "data__mean": (0.1,) * 4, "data__std": (0.2,) * 4}
    return load_config("configs/channels.py", **(made | fields))


def test_the_configured_net_and_its_metrics():
    config = channels_config(channels__sources="red,green,blue,yellow", channels__targets="yellow")
    task = make_task(config, make_mesh())
    assert task.input_shape == (32, 32, 8)
    assert task.metric_names(config) == ("pearson", "pearson_yellow_from_red_green_blue")
    forms = channels.channel_forms(config)
    assert forms.target_std == (0.2,) and len(forms.preparation["channel_mix"]) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels__targets": "cyan"}, "'cyan' is no channel"),
        ({"channels__targets": "red", "channels__sources": "red,green"}, "name another source"),
        ({"channels__loss": "l2"}, "'l2' is unknown"),
        ({"data__channel_mix": "rgb"}, "channel_mix=rgby"),
        ({"augment__channel_dropout": 0.2}, "drawn anyway"),
        ({"model__name": "inception_resnet_v2"}, "cannot be a U-Net's encoder"),
        ({"channels__crop": 64}, "channels.crop=64 is more than config.data.image_size=32"),
        ({"channels__crop": 32, "devices__space": 2}, "a crop is on one device"),
    ],
)
def test_what_the_task_does_not_take_is_refused_by_name(fields, message):
    with pytest.raises(InputError, match=message):
        make_task(channels_config(**fields), make_mesh())
