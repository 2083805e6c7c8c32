"""A training step on mixed images: its loss is that of the mixed targets, and follows the step."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
import torch
from scipy.special import expit, softmax

from hpa_jax.config import Augment
from hpa_jax.errors import InputError
from hpa_jax.optim.losses import make_loss
from hpa_jax.training import parts
from hpa_jax.training.state import new_state
from hpa_jax.training.steps import make_train_step
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES

PREPARATION = {"channel_mix": CHANNEL_MIXES["rgby"], "mean": (0.4,) * 4, "std": (0.3,) * 4}
BATCH = 6
LABELS = 3
TORCH_LOSSES = {
    "bce": torch.nn.functional.binary_cross_entropy_with_logits,
    "softmax_cross_entropy": torch.nn.functional.cross_entropy,
}


class Net(nn.Module):
    """Its first logits are weighted sums of pixels."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(LABELS, name="head")(images.reshape(len(images), -1))


def step_of(loss="bce", **settings):
    optimizer = optax.sgd(0.1)
    shown = np.zeros((1, 8, 8, 4), np.float32)
    variables = Net().init(jax.random.key(0), shown, train=False)
    variables = {"batch_stats": {}} | jax.tree.map(np.asarray, variables)
    step = make_train_step(
        Net(),
        optimizer,
        make_loss(loss),
        seed=4,
        augmentation={"flips": False},
        preparation=PREPARATION,
        **settings,
    )
    return new_state(variables, optimizer), jax.jit(step)


def batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (BATCH, 8, 8, 4), np.uint8),
        "targets": rng.integers(0, 2, (BATCH, LABELS), np.uint8),
    }


def torch_update(kernel, bias, images, targets, loss):
    """Loss and kernel after a step of descent on mixed images and their mixed targets."""
    kernel = torch.tensor(kernel, requires_grad=True)
    logits = torch.tensor(images.reshape(BATCH, -1)) @ kernel + torch.tensor(bias)
    targets = torch.tensor(targets.astype(np.float32))
    value = TORCH_LOSSES[loss](logits, targets)
    value.backward()
    return value.item(), (kernel - 0.1 * kernel.grad).detach().numpy()


@pytest.mark.parametrize(
    "loss", ["bce", pytest.param("softmax_cross_entropy", marks=pytest.mark.slow)]
)
def test_a_mixed_batch_is_learnt_as_its_mixed_targets(loss):
    single_label = loss == "softmax_cross_entropy"
    state, step = step_of(loss, mixing={"mixup": 0.5}, single_label=single_label)
    kernel = state.params["head"]["kernel"]
    bias = state.params["head"]["bias"]
    shown_batch = batch()
    if single_label:
        shown_batch["targets"] = np.eye(LABELS, dtype=np.uint8)[[0, 1, 1, 2, 0, 2]]
    after, metrics = step(state, shown_batch)
    images = (shown_batch["image"] / 255 - 0.4).astype(np.float32) / np.float32(0.3)
    targets = shown_batch["targets"].astype(np.float32)

    def mixed(array, fraction):
        return fraction * array + (1 - fraction) * np.roll(array, -1, axis=0)

    def distance(fraction):
        shown = mixed(images, fraction).reshape(BATCH, -1)
        logits = shown @ kernel + bias
        scores = softmax(logits, axis=1) if single_label else expit(logits)
        errors = scores - mixed(targets, fraction)
        divisor = BATCH if single_label else errors.size
        moved = kernel - 0.1 * shown.T @ errors / divisor
        return np.abs(moved - after.params["head"]["kernel"]).max()

    # The fraction that was drawn is the one whose update is nearest.
    fractions = np.linspace(0, 1, 2001)
    nearest = np.float32(fractions[np.argmin([distance(fraction) for fraction in fractions])])
    assert 0.005 < nearest < 0.995
    shown = mixed(images, nearest)
    value, expected = torch_update(kernel, bias, shown, mixed(targets, nearest), loss)
    np.testing.assert_allclose(metrics["loss"], value, rtol=2e-3)
    np.testing.assert_allclose(after.params["head"]["kernel"], expected, atol=2e-4)
    if single_label:
        predicted = (shown.reshape(BATCH, -1) @ kernel + bias).argmax(1)
        right = [
            np.mean(predicted == both.argmax(1)) for both in (targets, np.roll(targets, -1, 0))
        ]
        np.testing.assert_allclose(
            metrics["accuracy"], nearest * right[0] + (1 - nearest) * right[1], atol=2e-3
        )


@pytest.mark.slow
def test_each_step_mixes_anew_and_a_step_done_again_as_before():
    state, step = step_of(mixing={"mixup": 0.5, "cutmix": 1.0})
    found = {}
    for number in range(6):
        at_step = state.replace(step=np.int32(number))
        first, metrics = step(at_step, batch())
        again, _ = step(at_step, batch())
        jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
        found[number] = float(metrics["loss"])
    assert len(set(found.values())) == 6


@pytest.mark.slow
def test_images_that_are_never_mixed_are_learnt_as_without():
    state, mixing = step_of(mixing={"mixup": 1.0, "probability": 0.0})
    _, plain = step_of()
    for name, value in plain(state, batch())[1].items():
        np.testing.assert_allclose(mixing(state, batch())[1][name], value, rtol=1e-5)


def test_a_batch_of_one_image_cannot_be_mixed():
    assert parts.mixing(Augment(), 1) is None
    assert parts.mixing(Augment(mixup=0.2), 2)["mixup"] == 0.2
    with pytest.raises(InputError, match="config.data.batch_size=1: with config.augment.mixup"):
        parts.mixing(Augment(cutmix=1.0), 1)
