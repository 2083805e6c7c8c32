"""The training step: it learns, it is element-wise right about accuracy, and a step that is not finite changes
nothing."""

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from hpa_jax import losses
from hpa_jax.models import build_model, init_variables
from hpa_jax.state import HEALTHY, new_state
from hpa_jax.steps import make_score_step, make_train_step

PREPARATION = {"channels": (0, 1, 2, 3), "mean": (0.0,) * 4, "std": (1.0,) * 4}
LABELS = 5


@pytest.fixture(scope="module")
def parts():
    model = build_model("densenet_tiny", head="pooled", labels=LABELS, dropout=0.0)
    optimizer = optax.adam(1e-2)
    # The scale of the loss is an input, so that one compiled step can be given a loss that is not finite.
    step = make_train_step(model, optimizer, losses.bce, seed=0, augmentation={"flips": False}, preparation=PREPARATION)
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
        state, figures = step(state, batch())
    assert figures["loss"] < 0.1 and figures["accuracy"] == 1.0
    assert int(state.step) == 60 and int(state.failed_at) == HEALTHY


def test_figures_are_those_of_the_logits(parts):
    model, optimizer, step = parts
    state = fresh(model, optimizer)
    images = batch()["image"].astype(np.float32) / 255
    logits, _ = model.apply(
        {"params": state.params, "batch_stats": state.batch_stats}, images, train=True, mutable=["batch_stats"]
    )
    _, figures = step(state, batch())
    targets = batch()["targets"]
    scores = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    loss = -np.mean(targets * np.log(scores) + (1 - targets) * np.log(1 - scores))
    np.testing.assert_allclose(figures["loss"], loss, rtol=1e-4)
    np.testing.assert_allclose(figures["accuracy"], np.mean((scores > 0.5) == targets), rtol=1e-6)


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
    after, figures = step(poisoned, batch())
    assert not np.isfinite(figures["loss"]) or not np.isfinite(figures["grad_norm"])
    for part in ("params", "batch_stats", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(poisoned, part))
    assert int(after.failed_at) == 1 and int(after.step) == 2

    healed, _ = step(after.replace(params=state.params), batch())
    assert int(healed.failed_at) == 1  # it sticks
    before, later = flatten_dict(after.params), flatten_dict(healed.params)
    assert any(not np.array_equal(before[name], later[name]) for name in before)


def test_scores_of_a_field_do_not_depend_on_its_batch(parts):
    model, optimizer, _ = parts
    state = fresh(model, optimizer)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    score = make_score_step(model, preparation=PREPARATION)
    together = score(variables, batch()["image"])
    alone = score(variables, batch()["image"][3:4])
    np.testing.assert_allclose(alone[0], together[3], rtol=1e-4, atol=1e-5)
