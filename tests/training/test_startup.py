"""What is compiled: the step, and nothing else until it is done; and nothing for a save."""

import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from support.made_checkpoints import METRIC, equal, made_state, opened

from hpa_jax.config import Config, Data, Model, Train
from hpa_jax.optim.optimizer import make_optimizer
from hpa_jax.optim.packing import pack
from hpa_jax.training import components, parts
from hpa_jax.training.state import new_state

COMPILED = "Finished XLA compilation of "


@pytest.fixture
def compilations():
    """How many programs were compiled, or read from the cache, since the test began."""
    counts = [0]

    def listen(event, seconds, **facts):
        counts[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield counts
    jax.monitoring.unregister_event_duration_listener(listen)


def test_the_state_before_the_first_step_needs_no_compiling(compilations):
    data = Data(batch_size=8, image_size=32, mean=(0.1,) * 4, std=(0.2,) * 4)
    config = Config(data=data, model=Model(name="densenet_tiny"), train=Train(ema=0.9))
    setup = components.Setup(config, parts.make_mesh(config.data, config.model), num_steps=10)
    variables = parts.initial_variables(setup.model, setup.input_shape, seed=0)
    state = setup.initial_state(variables)
    assert compilations == [0] and int(state.step) == 0
    jax.jit(lambda x: x + 1)(state.step)
    assert compilations == [1]  # what was listened to is what is meant


def test_saving_needs_no_compiling(compilations, tmp_path):
    # Of several devices Orbax would write a slice of each, by a program for each shape.
    replicated = NamedSharding(jax.make_mesh((2,), ("data",), devices=jax.devices()[:2]), P())
    shapes = {f"layer{number}": (number + 2, 6) for number in range(5)}
    params = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    state = jax.device_put(made_state(1).replace(params=params), replicated)
    before = compilations[0]
    checkpoints = opened(tmp_path, keep=1)
    checkpoints.save(1, state, 16, {METRIC: 0.5})
    checkpoints.close()
    assert compilations == [before]
    restored = opened(tmp_path).restore(1, state)
    assert equal(restored, state)
    for own, other in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert own.sharding == other.sharding


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize(
    "options", [{}, {"accumulate": 4}, {"freeze_backbone": 3, "clip": 1.0, "backbone_lr": 0.1}]
)
def test_every_optimizer_starts_as_optax_initializes_it(name, options):
    params = {
        "backbone": {"conv": {"kernel": np.ones((3, 4), np.float32)}},
        "head": {"bias": np.ones(3, np.float32)},
    }
    schedule = optax.cosine_decay_schedule(0.1, 100)
    optimizer = make_optimizer(name, schedule, b1=0.9, b2=0.99, eps=1e-8, **options)
    started = new_state({"params": params, "batch_stats": {}}, optimizer).opt_state
    expected = optimizer.init(pack(params))
    assert jax.tree.structure(started) == jax.tree.structure(expected)
    for own, other in zip(jax.tree.leaves(started), jax.tree.leaves(expected), strict=True):
        assert own.dtype == other.dtype
        np.testing.assert_array_equal(own, other)


def test_a_run_compiles_its_step_and_no_more_before_it_is_done(
    run, small_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_LOG_COMPILES", "1")
    done = run(*small_run, f"--workdir={tmp_path}", "--config.train.steps=1")
    assert done.returncode == 0, done.stderr
    names = [
        line.partition(COMPILED)[2].split()[0]
        for line in done.stderr.splitlines()
        if COMPILED in line
    ]
    assert names.count("jit(train_step)") == 1
    # Then the rate for the log line, the evaluation and its thresholds; each one program.
    assert names[0] == "jit(train_step)" and len(names) <= 6, names
