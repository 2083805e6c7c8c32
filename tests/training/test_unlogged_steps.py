"""The metrics of steps between two log lines, and across a resume."""

import json

import jax.numpy as jnp
import numpy as np

from hpa_jax.training.unlogged_steps import UnloggedSteps


def test_a_mean_after_a_resume_is_that_of_a_run_that_was_not_stopped():
    losses = np.float32([0.1, 0.7, 1 / 3, 2e-8])
    whole = UnloggedSteps()
    for loss in losses:
        whole.append({"loss": jnp.asarray(loss), "norm": jnp.asarray(2 * loss)})

    stopped = UnloggedSteps()
    for loss in losses[:2]:
        stopped.append({"loss": jnp.asarray(loss), "norm": jnp.asarray(2 * loss)})
    saved = json.loads(json.dumps(stopped.to_lists()))
    resumed = UnloggedSteps()
    resumed.extend(saved)
    for loss in losses[2:]:
        resumed.append({"loss": jnp.asarray(loss), "norm": jnp.asarray(2 * loss)})
    resumed.wait(1)

    assert resumed.mean() == whole.mean() == {"loss": losses.mean(), "norm": (2 * losses).mean()}
    assert resumed.to_lists() == whole.to_lists()


def test_nothing_is_left_of_what_was_logged():
    steps = UnloggedSteps()
    assert steps.to_lists() == {}
    steps.extend({})
    steps.wait(2)
    steps.append({"loss": jnp.float32(1)})
    steps.clear()
    assert steps.to_lists() == {}
