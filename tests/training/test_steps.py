"""The training step: it learns; its accuracy is element-wise; not finite, it changes nothing."""

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from hpa_jax.models import create_model, init_variables
from hpa_jax.optim import losses
from hpa_jax.training.state import HEALTHY, new_state
from hpa_jax.training.steps import make_score_step, make_train_step
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES

PREPARATION = {"channel_mix": CHANNEL_MIXES["rgby"], "mean": (0.0,) * 4, "std": (1.0,) * 4}
LABELS = 5


@pytest.fixture(scope="module")
def parts():
    model = create_model(
        "densenet_tiny", head="pooled", num_labels=LABELS, dropout=0.0, dtype="float32"
    )
    optimizer = optax.adam(1e-2)
    step = make_train_step(
        model,
        optimizer,
        losses.make_loss("bce"),
        seed=0,
        augmentation={"flips": False},
        preparation=PREPARATION,
    )
    return model, optimizer, jax.jit(step)


def batch():
    rng = np.random.default_rng(0)
    targets = np.zeros((8, LABELS), np.uint8)
    targets[:, :2] = rng.integers(0, 2, (8, 2))
    return {"image": rng.integers(0, 256, (8, 32, 32, 4), np.uint8), "targets": targets}


def fresh(model, optimizer):
    return new_state(init_variables(model, (32, 32, 4), seed=0), optimizer)


def test_it_learns_a_batch(parts):
    model, optimizer, step = parts
    state = fresh(model, optimizer)
    for _ in range(60):
        state, metrics = step(state, batch())
    assert metrics["loss"] < 0.1 and metrics["accuracy"] == 1.0
    assert int(state.step) == 60 and int(state.failed_at) == HEALTHY


def test_metrics_are_those_of_the_logits(parts):
    model, optimizer, step = parts
    state = fresh(model, optimizer)
    images = batch()["image"].astype(np.float32) / 255
    logits, _ = model.apply(
        {"params": state.params, "batch_stats": state.batch_stats},
        images,
        train=True,
        mutable=["batch_stats"],
    )
    _, metrics = step(state, batch())
    targets = batch()["targets"]
    scores = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    loss = -np.mean(targets * np.log(scores) + (1 - targets) * np.log(1 - scores))
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["accuracy"], np.mean((scores > 0.5) == targets), rtol=1e-6)


@pytest.mark.parametrize("where", ["params", "batch_stats"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_remembered(parts, where):
    model, optimizer, step = parts
    state, _ = step(fresh(model, optimizer), batch())
    poisoned = jax.tree.map(np.asarray, state)
    kernel = (
        poisoned.params["head"]["logits"]["kernel"]
        if where == "params"
        else poisoned.params["backbone"]["stem_norm"]["scale"]
    ).copy()
    kernel.flat[0] = np.nan if where == "params" else np.inf
    tree = jax.tree.map(lambda leaf: leaf, poisoned.params)
    if where == "params":
        tree["head"]["logits"]["kernel"] = kernel
    else:
        tree["backbone"]["stem_norm"]["scale"] = kernel
    poisoned = poisoned.replace(params=tree)
    after, metrics = step(poisoned, batch())
    assert not np.isfinite(metrics["loss"]) or not np.isfinite(metrics["grad_norm"])
    for part in ("params", "batch_stats", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(poisoned, part))
    assert int(after.failed_at) == 1 and int(after.step) == 2

    healed, _ = step(after.replace(params=state.params), batch())
    assert int(healed.failed_at) == 1  # it sticks
    before, later = flatten_dict(after.params), flatten_dict(healed.params)
    assert any(not np.array_equal(before[name], later[name]) for name in before)


def test_scores_of_an_image_do_not_depend_on_its_batch(parts):
    model, optimizer, _ = parts
    state = fresh(model, optimizer)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    score = make_score_step(model, preparation=PREPARATION)
    together = score(variables, batch()["image"])
    alone = score(variables, batch()["image"][3:4])
    np.testing.assert_allclose(alone[0], together[3], rtol=1e-4, atol=1e-5)


def gradients_of(augmentation, images, **settings):
    """The first step's gradient norm, which tells what the net was shown."""
    model, optimizer = (
        create_model(
            "densenet_tiny", head="pooled", num_labels=LABELS, dropout=0.0, dtype="float32"
        ),
        optax.sgd(0.0),
    )
    settings = {"preparation": PREPARATION} | settings
    step = make_train_step(
        model, optimizer, losses.make_loss("bce"), seed=0, augmentation=augmentation, **settings
    )
    source = {"source": np.array([0, 1] * 4, np.int32)}
    _, metrics = jax.jit(step)(fresh(model, optimizer), batch() | source | {"image": images})
    return float(metrics["grad_norm"])


def test_each_source_is_normalized_by_its_own_statistics():
    """Two sources, one twice as bright, each with its own statistics: the same as two alike."""
    images = batch()["image"] // 2
    brighter = images.copy()
    brighter[1::2] *= 2
    one = {
        "channel_mix": CHANNEL_MIXES["rgby"],
        "mean": (0.2, 0.1, 0.2, 0.1),
        "std": (0.1, 0.2, 0.1, 0.2),
    }
    two = one | {"mean": (one["mean"], tuple(2 * m for m in one["mean"]))}
    two |= {"std": (one["std"], tuple(2 * s for s in one["std"]))}
    wanted = gradients_of({"flips": False}, images, preparation=one)
    np.testing.assert_allclose(
        gradients_of({"flips": False}, brighter, preparation=two), wanted, rtol=1e-4
    )
    assert abs(gradients_of({"flips": False}, brighter, preparation=one) - wanted) > 1e-3 * wanted


def test_only_images_with_the_given_labels_are_augmented():
    images = batch()["image"]
    plain, all_of_them = (
        gradients_of({"flips": False}, images),
        gradients_of({"flips": True}, images),
    )
    for none in ((), (3,)):  # no label at all, and one that no image of the batch has
        assert gradients_of({"flips": True}, images, only_labels=none) == plain
    assert plain != gradients_of({"flips": True}, images, only_labels=(0,)) != all_of_them
    assert gradients_of({"flips": True}, images, only_labels=(0, 1)) != plain
