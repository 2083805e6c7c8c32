"""Options of a training step: accumulation, averaged weights, a scaled rate, a frozen backbone.

On a net of a few hundred weights, so that every step can be followed in NumPy.
"""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from orbax.checkpoint import v1 as ocp

from hpa_jax.errors import InputError
from hpa_jax.models.norm import BatchNorm
from hpa_jax.optim import losses
from hpa_jax.optim.ema import init_ema, update_ema, with_estimated_statistics
from hpa_jax.optim.optimizer import make_optimizer
from hpa_jax.optim.packing import pack
from hpa_jax.parallel.mesh import batch_sharding, make_mesh, replicated
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.state import HEALTHY, eval_variables, new_state
from hpa_jax.training.steps import make_statistics_step, make_train_step
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES

PREPARATION = {"channel_mix": CHANNEL_MIXES["rgby"], "mean": (0.3,) * 4, "std": (0.2,) * 4}
ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-7}
DECAY = 0.8


class Backbone(nn.Module):
    momentum: float

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(8, use_bias=False, name="dense")(x.mean((1, 2)))
        return nn.relu(BatchNorm(momentum=self.momentum, name="norm")(x, train=train))


class Net(nn.Module):
    momentum: float = 0.75

    @nn.compact
    def __call__(self, images, *, train):
        features = Backbone(self.momentum, name="backbone")(images, train=train)
        return nn.Dense(3, name="head")(features)


def batches(count, size=8):
    rng = np.random.default_rng(1)
    shape = (size, 4, 4, 4)
    return [
        {
            "image": rng.integers(0, 256, shape, np.uint8),
            "targets": rng.integers(0, 2, (size, 3), np.uint8),
        }
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(
        np.asarray, Net().init(jax.random.key(0), np.zeros((1, 4, 4, 4), np.float32), train=False)
    )


def stepper(variables, *, average=False, progress=False, **settings):
    """A first state and the jitted step."""
    name = settings.pop("name", "adam")
    optimizer = make_optimizer(name, optax.constant_schedule(0.05), **ADAM, **settings)
    step = make_train_step(
        Net(),
        optimizer,
        losses.make_loss("bce"),
        seed=0,
        augmentation={"flips": False},
        preparation=PREPARATION,
        average_decay=DECAY if average else 0.0,
    )
    return new_state(variables, optimizer, average=average, progress=progress), jax.jit(step)


def followed(state, step, given):
    path = [state]
    for batch in given:
        path.append(jax.tree.map(np.asarray, step(path[-1], batch)[0]))
    return path


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def close(a, b, rtol=1e-5):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-6), a, b)


def test_without_options_the_state_holds_what_it_always_held(variables):
    state, _ = stepper(variables)
    opt_state = optax.adam(lambda _: 0.05, **ADAM).init(pack(variables["params"]))
    leaves = jax.tree.leaves((state.step, variables, opt_state, state.failed_at))
    assert len(jax.tree.leaves(state)) == len(leaves)
    assert eval_variables(state) == {"params": state.params, "batch_stats": state.batch_stats}


def test_accumulated_gradients_are_averaged_and_batch_norm_sees_each_step_alone(variables):
    given = batches(4)
    state, step = stepper(variables, name="sgd", accumulate=2)
    path = followed(state, step, given)
    assert same(path[1].params, path[0].params) and not same(path[2].params, path[1].params)
    # Running statistics move at every step, towards the moments of that step's batch alone.
    first, plain = stepper(variables, name="sgd")
    for before, after, batch in zip(path, path[1:], given, strict=False):
        alone, _ = plain(first.replace(params=before.params, batch_stats=before.batch_stats), batch)
        close(after.batch_stats, alone.batch_stats)
    # The update is that of the mean gradient; two batches of 8, each normalized by itself, are not
    # one of 16.
    one_each = [jax.tree.map(np.asarray, plain(first, batch)[0].params) for batch in given[:2]]
    close(path[2].params, jax.tree.map(lambda a, b: (a + b) / 2, *one_each))
    together = jax.tree.map(lambda *parts: np.concatenate(parts), *given[:2])
    of_sixteen = plain(first, together)[0].params
    assert not np.allclose(
        of_sixteen["head"]["kernel"], path[2].params["head"]["kernel"], rtol=1e-3
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_is_the_weighted_mean_of_the_weights_that_updates_left(variables, accumulate):
    path = followed(*stepper(variables, average=True, accumulate=accumulate), batches(6))
    updated = [state for number, state in enumerate(path) if number and number % accumulate == 0]
    weights = DECAY ** np.arange(len(updated))[::-1]

    def mean(*values):
        return np.average(np.array(values, np.float64), axis=0, weights=weights)

    average = path[-1].average
    assert int(average.updates) == len(updated)
    close(average.params, jax.tree.map(mean, *(state.params for state in updated)))
    close(average.batch_stats, jax.tree.map(mean, *(state.batch_stats for state in updated)))
    assert same(eval_variables(path[-1])["params"], average.params)
    # The first average is the first update's weights; before it, the initial weights.
    assert same(path[accumulate].average.params, path[accumulate].params)
    assert same(eval_variables(path[0])["params"], variables["params"])
    plain = followed(*stepper(variables, accumulate=accumulate), batches(6))
    close(path[-1].params, plain[-1].params, rtol=1e-6)  # averaging does not touch training


def test_a_slow_average_loses_no_digits():
    average = init_ema({"params": {"w": np.zeros(4, np.float32)}, "batch_stats": {}})
    rng = np.random.default_rng(0)
    decay = 0.9999
    total = np.zeros(4)
    weight = 0.0
    update = jax.jit(partial(update_ema, decay=decay))
    for _ in range(300):
        params = {"w": rng.normal(1.0, 1e-3, 4).astype(np.float32)}
        average = update(average, params, {})
        total = decay * total + params["w"]
        weight = decay * weight + 1
    np.testing.assert_allclose(average.params["w"], total / weight, rtol=2e-6)


def test_statistics_of_averaged_weights_are_the_mean_of_the_batches_own(variables):
    given = batches(3)
    step = make_statistics_step(Net(momentum=0.0), preparation=PREPARATION)
    average = with_estimated_statistics(init_ema(variables), jax.jit(step), given)
    dense = variables["params"]["backbone"]["dense"]
    found = []
    for batch in given:
        x = ((batch["image"].astype(np.float64) / 255 - 0.3) / 0.2).mean((1, 2))
        found.append(x @ np.asarray(dense["kernel"], np.float64))
    norm = average.batch_stats["backbone"]["norm"]
    np.testing.assert_allclose(
        norm["mean"], np.mean([x.mean(0) for x in found], axis=0), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(norm["var"], np.mean([x.var(0) for x in found], axis=0), rtol=1e-3)
    assert same(average.params, variables["params"])


def test_the_learning_rate_s_factor_scales_every_update(variables):
    given = batches(1)
    state, step = stepper(variables, name="adamw", weight_decay=0.5, progress=True)
    full, _ = step(state, given[0])
    halved = state.progress.replace(rate_scale=np.float32(0.5))
    half, _ = step(state.replace(progress=halved), given[0])

    def moved(after):
        return jax.tree.map(np.subtract, after.params, state.params)

    close(jax.tree.map(lambda m: m / 2, moved(full)), moved(half), rtol=1e-3)
    assert half.progress.rate_scale == 0.5


def test_a_frozen_backbone_does_not_move_but_its_running_statistics_do(variables):
    path = followed(
        *stepper(variables, name="adamw", weight_decay=0.5, freeze_backbone=2), batches(3)
    )
    for before, after in zip(path[:2], path[1:3], strict=True):
        assert same(after.params["backbone"], before.params["backbone"])
        assert not same(after.params["head"], before.params["head"])
        assert not same(after.batch_stats, before.batch_stats)
    assert not same(path[3].params["backbone"], path[2].params["backbone"])


# Within a group of accumulated steps, and at its end.
@pytest.mark.parametrize("healthy_steps", [1, 2])
def test_a_step_that_is_not_finite_changes_nothing_with_every_option_on(variables, healthy_steps):
    settings = {
        "name": "adamw",
        "weight_decay": 0.1,
        "clip": 1.0,
        "accumulate": 3,
        "freeze_backbone": 3,
    }
    state, step = stepper(variables, average=True, progress=True, backbone_lr=0.5, **settings)
    before = followed(state, step, batches(3 + healthy_steps))[-1]
    poisoned = before.replace(params=jax.tree.map(np.copy, before.params))
    poisoned.params["head"]["bias"][0] = np.nan
    after = jax.tree.map(np.asarray, step(poisoned, batches(1)[0])[0])
    for name in ("batch_stats", "opt_state", "average", "progress"):
        assert same(getattr(after, name), getattr(poisoned, name)), name
    np.testing.assert_array_equal(after.params["head"]["kernel"], before.params["head"]["kernel"])
    assert int(after.failed_at) == 3 + healthy_steps and int(before.failed_at) == HEALTHY


def test_with_every_option_the_step_gathers_nothing_and_donates_its_state(variables):
    mesh = make_mesh()
    state, step = stepper(
        variables, average=True, progress=True, accumulate=2, clip=1.0, freeze_backbone=2
    )
    out = (replicated(mesh), replicated(mesh))
    step = jax.jit(step.__wrapped__, donate_argnums=0, out_shardings=out)
    state = jax.device_put(state, replicated(mesh))
    program = step.lower(state, jax.device_put(batches(1)[0], batch_sharding(mesh))).compile()
    assert "all-gather" not in program.as_text() and "all-reduce" in program.as_text()
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert program.memory_analysis().alias_size_in_bytes == state_bytes


def on_one_device(state):
    return jax.device_put(state, jax.sharding.SingleDeviceSharding(jax.devices()[0]))


def test_a_checkpoint_of_a_state_that_knew_no_options_restores(variables, tmp_path):
    state, step = stepper(variables)
    state = followed(state, step, batches(2))[-1]

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class TrainState:  # as it was
        step: jax.Array
        params: dict
        batch_stats: dict
        opt_state: tuple
        failed_at: jax.Array

    older = TrainState(*(getattr(state, field.name) for field in dataclasses.fields(TrainState)))
    with ocp.training.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save_checkpointables(
            2, {"state": on_one_device(older)}, force=True, metrics={"macro_f1": 0.5}
        )
    # A metric that it was not saved with.
    checkpoints = Checkpoints(tmp_path, metric="macro_average_precision")
    assert checkpoints.best() == 2 and checkpoints.position(2) is None
    restored = checkpoints.restore(2, on_one_device(stepper(variables)[0]))
    checkpoints.close()
    assert same(restored, state) and restored.average is None


def saved(folder, state):
    """Checkpoints in `folder`, with `state` as step 2."""
    checkpoints = Checkpoints(folder, metric="macro_f1", keep=1)
    checkpoints.save(2, on_one_device(state), 16)
    checkpoints.wait()
    return checkpoints


def test_an_evaluation_reads_a_checkpoint_whatever_optimizer_wrote_it(variables, tmp_path):
    state, step = stepper(variables, name="sgd", accumulate=2)
    state = followed(state, step, batches(2))[-1]
    checkpoints = saved(tmp_path, state)
    restored = checkpoints.restore(2, on_one_device(stepper(variables)[0]).replace(opt_state=None))
    checkpoints.close()
    assert restored.opt_state is None and not same(state.params, variables["params"])
    assert same(eval_variables(restored), eval_variables(state))


def test_a_run_does_not_resume_from_another_optimizer_s_checkpoint(variables, tmp_path):
    checkpoints = saved(tmp_path, stepper(variables, name="sgd")[0])
    with pytest.raises(InputError) as refused:
        checkpoints.restore(2, on_one_device(stepper(variables)[0]))
    checkpoints.close()
    text = str(refused.value)
    assert "has no opt_state/0/count" in text and "\n" not in text and "delete" not in text


def test_a_checkpoint_holds_the_average_and_the_progress(variables, tmp_path):
    state, step = stepper(variables, average=True, progress=True, accumulate=2)
    state = on_one_device(followed(state, step, batches(3))[-1])
    checkpoints = Checkpoints(tmp_path, metric="macro_f1", keep=1)
    checkpoints.save(3, state, 12)
    checkpoints.wait()
    assert checkpoints.position(3) == 12
    restored = checkpoints.restore(
        3, on_one_device(stepper(variables, average=True, progress=True, accumulate=2)[0])
    )
    checkpoints.close()
    assert same(restored, state)
