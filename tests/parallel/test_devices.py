"""One device against eight: the same images, losses and gradients, however batches are sharded."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hpa_jax import labels
from hpa_jax.models import create_model, init_variables, norm
from hpa_jax.optim import losses
from hpa_jax.optim.label_weights import deferred
from hpa_jax.parallel.mesh import batch_sharding, make_mesh, put_batch, replicated
from hpa_jax.training.state import new_state
from hpa_jax.training.steps import make_train_step
from hpa_jax.transforms.augment import augment_images
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES

AUGMENTATION = {
    "flips": True,
    "rotate_degrees": 30.0,
    "scale": (0.7, 1.2),
    "shift": 0.1,
    "protein_contrast": 0.2,
    "contrast": 0.2,
    "brightness": 0.2,
}
MIXING = {"mixup": 0.4, "cutmix": 1.0}
PREPARATION = {"channel_mix": CHANNEL_MIXES["rgby"], "mean": (0.1,) * 4, "std": (0.2,) * 4}
BATCH = 16


def batch_of(seed):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (BATCH, 64, 64, 4), np.uint8),
        "targets": (rng.random((BATCH, len(labels.LABELS))) < 0.1).astype(np.uint8),
    }


def margins_and_weights():
    """Of LDAM, re-weighted in the middle of the run."""
    late = np.linspace(0.1, 1.9, len(labels.LABELS))
    return {
        "margins": np.linspace(0, 0.5, len(labels.LABELS)),
        "label_weights": deferred(late, start=5),
    }


def metrics_of(devices, steps=10):
    """Loss and gradient norm of each step on a mesh of `devices`, and the compiled program."""
    mesh = make_mesh(devices)
    model = create_model(
        "densenet_tiny",
        head="hpa_densenet",
        num_labels=len(labels.LABELS),
        dropout=0.5,
        dtype="float32",
    )
    optimizer = optax.adam(1e-4)
    state = new_state(init_variables(model, (64, 64, 4), seed=0), optimizer)
    state = jax.device_put(state, replicated(mesh))
    step = make_train_step(
        model,
        optimizer,
        losses.make_loss("bce,ldam", {"ldam": margins_and_weights()}),
        seed=0,
        augmentation=AUGMENTATION,
        preparation=PREPARATION,
        mixing=MIXING,
    )
    step = jax.jit(step, donate_argnums=0, out_shardings=(replicated(mesh), replicated(mesh)))
    program = step.lower(state, put_batch(batch_of(0), mesh)).compile()
    found = []
    for number in range(steps):
        state, metrics = program(state, put_batch(batch_of(number), mesh))
        found.append((float(metrics["loss"]), float(metrics["grad_norm"])))
    return np.array(found), program


@pytest.fixture(scope="module")
def on_one():
    return metrics_of(jax.devices()[:1])[0]


@pytest.fixture(scope="module")
def on_eight():
    return metrics_of(jax.devices())


def test_the_first_step_agrees(on_one, on_eight):
    np.testing.assert_allclose(on_eight[0][0], on_one[0], rtol=1e-5)


def test_the_losses_of_ten_steps_agree(on_one, on_eight):
    np.testing.assert_allclose(on_eight[0][:, 0], on_one[:, 0], rtol=1e-4)


def test_the_step_gathers_nothing_and_donates_its_state(on_eight):
    program = on_eight[1]
    assert "all-gather" not in program.as_text() and "all-reduce" in program.as_text()
    memory = program.memory_analysis()
    assert memory.alias_size_in_bytes >= 0.95 * (memory.output_size_in_bytes - 64)


def test_batch_norm_on_each_device_alone_would_be_noticed(on_one, monkeypatch):
    batch_moments = norm.batch_moments

    def per_device(x):
        parts = x.reshape(8, -1, *x.shape[1:])
        means, variances = jax.vmap(batch_moments)(parts)
        # What eight replicas that never communicate would use, on average.
        return means.mean(0), variances.mean(0)

    monkeypatch.setattr("hpa_jax.models.norm.batch_moments", per_device)
    monkeypatch.setattr("hpa_jax.models.densenet.batch_moments", per_device)
    metrics, _ = metrics_of(jax.devices(), steps=1)
    assert np.abs(metrics[0] / on_one[0] - 1).max() > 1e-3


@pytest.mark.parametrize("rotate", [0.0, 30.0])
def test_augmented_images_are_equal(rotate):
    settings = AUGMENTATION | {"rotate_degrees": rotate}
    function = jax.jit(lambda images: augment_images(images, jax.random.key(3), **settings))
    images = batch_of(5)["image"]
    one = np.asarray(function(images))
    mesh = make_mesh()
    sharded = function(jax.device_put(images, batch_sharding(mesh)))
    np.testing.assert_array_equal(np.asarray(sharded), one)
    assert not np.array_equal(one, images) and jnp.isfinite(sharded).all()
    assert len({shard.device for shard in sharded.addressable_shards}) == 8
