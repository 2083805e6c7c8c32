"""The arithmetic of a step, counted by hand, and the fractions of a chip's peaks."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.models import create_model
from hpa_jax.parallel.chips import chip_of
from hpa_jax.tracking import throughput
from hpa_jax.tracking.throughput import (
    StepTimer,
    Utilization,
    _products,
    bytes_accessed,
    training_flops,
)


class Net(nn.Module):
    """A convolution of the images, one in a scan of three, a product: each known by hand."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3))(x)
        kernel = self.param("kernel", nn.initializers.normal(), (8, 8))
        x, _ = jax.lax.scan(lambda x, _: (jax.jit(jnp.dot)(jnp.tanh(x), kernel), None), x, length=3)
        return nn.Dense(28)(x.mean((1, 2)))


def test_the_arithmetic_of_a_step_is_three_forward_passes_less_the_gradient_of_the_images():
    net = Net()
    images = jax.ShapeDtypeStruct((2, 16, 16, 4), np.float32)
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.ones(images.shape)))
    first = 2 * 2 * 16 * 16 * 8 * 9 * 4
    scanned = 2 * 2 * 16 * 16 * 8 * 8
    last = 2 * 2 * 8 * 28
    assert training_flops(net.apply, variables, images) == 2 * first + 3 * (3 * scanned + last)
    forward = training_flops(net.apply, variables, images, only_head=True)
    assert forward == first + 3 * scanned + last
    # The same from the step itself, as JAX differentiates it.
    step = jax.make_jaxpr(jax.value_and_grad(lambda v, x: net.apply(v, x).sum()))(variables, images)
    assert sum(_products(step.jaxpr)) == 2 * first + 3 * (3 * scanned + last)


def test_the_arithmetic_of_densenet_121_is_what_torchvision_says():
    """2.83 billion multiplications and additions forward at 3 x 224 x 224, by its table."""
    net = create_model(
        "densenet121", head="linear", num_labels=1000, dropout=0.0, momentum=0.9, dtype="float32"
    )
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    variables = jax.eval_shape(
        lambda: net.init(jax.random.key(0), jnp.zeros(images.shape), train=False)
    )
    flops = training_flops(lambda v, x: net.apply(v, x, train=False), variables, images)
    stem = 2 * 112 * 112 * 64 * 7 * 7 * 3
    assert (flops + stem) / 3 == pytest.approx(2 * 2.83e9, rel=0.005)


def test_fractions_of_the_peaks():
    chip = chip_of("TPU v5 lite")
    known = Utilization(chip, 8, flops=92e9, step_bytes=16 * 2.4e9)
    assert known.metrics(images_per_sec=8 * 16 * 10.0, steps_per_sec=10.0) == pytest.approx(
        {"mfu": 1280 * 92e9 / (8 * 197e12), "hbm_gb_per_sec": 384.0, "hbm_fraction": 384 / 819}
    )
    unknown_traffic = Utilization(chip, 8, flops=92e9, step_bytes=0.0)
    assert unknown_traffic.metrics(1280.0, 10.0).keys() == {"mfu"}
    assert Utilization(None, 8, 1e9, 1e9).metrics(100.0, 10.0) == {}


def test_a_pause_does_not_count_as_time_of_the_steps(monkeypatch):
    now = 100.0
    monkeypatch.setattr(throughput, "time", SimpleNamespace(monotonic=lambda: now))
    timer = StepTimer()
    now += 2.0
    with timer.paused():
        now += 50.0
    now += 1.0
    assert timer.seconds() == 3.0


def test_bytes_of_a_compiled_program():
    program = (
        jax.jit(lambda x, y: x + y)
        .lower(*[jax.ShapeDtypeStruct((1000,), np.float32)] * 2)
        .compile()
    )
    assert bytes_accessed(program) == 3 * 4000
