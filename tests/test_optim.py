"""Schedules by Optax's names, and Adam against PyTorch's."""

import numpy as np
import optax
import pytest
import torch

from hpa_jax.errors import InputError
from hpa_jax.optim import SCHEDULES, make_optimizer, make_schedule

OPTIONS = {
    "linear": {"end_value": 0.0},
    "polynomial": {"end_value": 0.0, "power": 2},
    "exponential_decay": {"decay_rate": 0.5},
    "piecewise_interpolate": {"interpolate_type": "linear", "init_value": 1.0, "boundaries_and_scales": {5: 0.1}},
    "warmup_constant": {"warmup_steps": 3},
    "warmup_cosine_decay": {"warmup_steps": 3},
    "warmup_exponential_decay": {"warmup_steps": 3, "decay_rate": 0.5},
    "sgdr": {"cosine_kwargs": [{"init_value": 0.0, "peak_value": 1.0, "decay_steps": 10, "warmup_steps": 2}]},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_made_and_positive_on_the_way(name):
    schedule = make_schedule(name, 0.01, 20, str(OPTIONS.get(name, {})))
    rates = [float(schedule(step)) for step in range(20)]
    assert np.isfinite(rates).all() and min(rates) >= 0 and max(rates) > 0


def test_a_schedule_is_optax_s():
    ours, theirs = make_schedule("cosine_decay", 0.1, 50, "{'alpha': 0.2}"), optax.cosine_decay_schedule(0.1, 50, 0.2)
    assert [float(ours(s)) for s in range(50)] == [float(theirs(s)) for s in range(50)]


@pytest.mark.parametrize(
    "name, options, wanted",
    [
        ("cosine", "{}", "cosine_decay"),
        ("linear", "{'end': 1}", "end_value"),
        ("linear", "{}", "end_value"),
        ("linear", "{end", "literals"),
    ],
)
def test_wrong_schedules_are_refused_in_one_line(name, options, wanted):
    with pytest.raises(InputError, match=wanted) as refusal:
        make_schedule(name, 0.1, 10, options)
    assert "\n" not in str(refusal.value)


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(InputError, match="adam"):
        make_optimizer("adamax", optax.constant_schedule(1.0), b1=0.9, b2=0.999, eps=1e-8)


def test_adam_equals_pytorch_s():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=7), rng.normal(size=(25, 7))
    theirs = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.999), eps=1e-7)
    ours, optimizer = (
        start.astype(np.float32),
        make_optimizer("adam", optax.constant_schedule(0.01), b1=0.9, b2=0.999, eps=1e-7),
    )
    state = optimizer.init(ours)
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        adam.step()
        updates, state = optimizer.update(gradient.astype(np.float32), state)
        ours = optax.apply_updates(ours, updates)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
