"""Schedules by Optax's names; optimizers and options against PyTorch's; a frozen backbone."""

import jax
import numpy as np
import optax
import pytest
import torch

from hpa_jax.errors import InputError
from hpa_jax.optim.optimizer import SCHEDULES, completes_update, make_optimizer, make_schedule

ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-7}
NAMES = (("backbone", "kernel"), ("backbone", "bias"), ("head", "kernel"), ("head", "bias"))

OPTIONS = {
    "linear": {"end_value": 0.0},
    "polynomial": {"end_value": 0.0, "power": 2},
    "exponential_decay": {"decay_rate": 0.5},
    "piecewise_interpolate": {
        "interpolate_type": "linear",
        "init_value": 1.0,
        "boundaries_and_scales": {5: 0.1},
    },
    "warmup_constant": {"warmup_steps": 3},
    "warmup_cosine_decay": {"warmup_steps": 3},
    "warmup_exponential_decay": {"warmup_steps": 3, "decay_rate": 0.5},
    "sgdr": {
        "cosine_kwargs": [
            {"init_value": 0.0, "peak_value": 1.0, "decay_steps": 10, "warmup_steps": 2}
        ]
    },
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_made_and_positive_on_the_way(name):
    schedule = make_schedule(name, 0.01, 20, str(OPTIONS.get(name, {})))
    learning_rates = [float(schedule(step)) for step in range(20)]
    assert np.isfinite(learning_rates).all()
    assert min(learning_rates) >= 0 and max(learning_rates) > 0


def test_a_schedule_is_optax_s():
    ours = make_schedule("cosine_decay", 0.1, 50, "{'alpha': 0.2}")
    theirs = optax.cosine_decay_schedule(0.1, 50, 0.2)
    assert [float(ours(s)) for s in range(50)] == [float(theirs(s)) for s in range(50)]


def test_a_run_shorter_than_its_warm_up_is_all_warm_up():
    short = make_schedule("warmup_cosine_decay", 0.1, 3, "{'warmup_steps': 50}")
    long = make_schedule("warmup_cosine_decay", 0.1, 500, "{'warmup_steps': 50}")
    assert [float(short(s)) for s in range(3)] == [float(long(s)) for s in range(3)]


def test_a_warm_up_is_a_twentieth_of_the_run_unless_it_is_said():
    unsaid = make_schedule("warmup_cosine_decay", 0.1, 100)
    said = make_schedule("warmup_cosine_decay", 0.1, 100, "{'warmup_steps': 5}")
    assert [float(unsaid(s)) for s in range(100)] == [float(said(s)) for s in range(100)]


def test_a_length_that_optax_refuses_is_an_error_of_one_line():
    with pytest.raises(InputError, match="decay_steps") as refusal:
        make_schedule("warmup_cosine_decay", 0.1, 10, "{'warmup_steps': 5, 'decay_steps': 2}")
    assert "\n" not in str(refusal.value)


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


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="adam"):
        make_optimizer("adamax", optax.constant_schedule(1.0), **ADAM)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_weight_decay_that_an_optimizer_does_not_have_is_refused(name):
    with pytest.raises(
        InputError, match=f"weight_decay=0.1 with config.optim.name='{name}'.*adamw"
    ):
        make_optimizer(name, optax.constant_schedule(1.0), **ADAM, weight_decay=0.1)


def some_params(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (3, 4), "bias": (4,)}
    params = {}
    for part in ("backbone", "head"):
        params[part] = {
            name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
        }
    return params


def some_gradients(count):
    return [some_params(seed) for seed in range(100, 100 + count)]


def trained(optimizer, gradients, params=None):
    """Parameters after each gradient, the first ones before any, and the last state."""
    params = some_params() if params is None else params
    update, state, path = jax.jit(optimizer.update), optimizer.init(params), [params]
    for gradient in gradients:
        updates, state = update(gradient, state, path[-1])
        path.append(jax.tree.map(np.asarray, optax.apply_updates(path[-1], updates)))
    return path, state


def torch_trained(make, gradients, clip=0.0):
    """The last parameters of PyTorch's optimizer `make({(part, name): parameter})`, in float64."""
    start = some_params()
    theirs = {}
    for part, name in NAMES:
        value = torch.tensor(start[part][name], dtype=torch.float64)
        theirs[part, name] = torch.nn.Parameter(value)
    optimizer, schedule = make(theirs)
    for gradient in gradients:
        for (part, name), parameter in theirs.items():
            parameter.grad = torch.tensor(gradient[part][name], dtype=torch.float64)
        if clip:
            torch.nn.utils.clip_grad_norm_(theirs.values(), clip)
        optimizer.step()
        if schedule is not None:
            schedule.step()
    found = {"backbone": {}, "head": {}}
    for (part, name), parameter in theirs.items():
        found[part][name] = parameter.detach().numpy()
    return found


def assert_close(ours, theirs, rtol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-6), ours, theirs)


def test_adam_equals_pytorch_s():
    gradients = some_gradients(25)
    theirs = torch_trained(
        lambda p: (torch.optim.Adam(p.values(), lr=0.01, eps=1e-7), None), gradients
    )
    ours, _ = trained(make_optimizer("adam", optax.constant_schedule(0.01), **ADAM), gradients)
    assert_close(ours[-1], theirs)


def test_adamw_with_a_backbone_learning_rate_and_clipping_equals_pytorch_s():
    gradients = some_gradients(25)

    def make(parameters):
        groups = [
            {
                "params": [p],
                "lr": 0.01 * (0.1 if part == "backbone" else 1),
                "weight_decay": 0.3 if name == "kernel" else 0.0,
            }
            for (part, name), p in parameters.items()
        ]
        return torch.optim.AdamW(groups, eps=1e-7), None

    settings = {"weight_decay": 0.3, "clip": 2.0, "backbone_lr": 0.1}
    ours, _ = trained(
        make_optimizer("adamw", optax.constant_schedule(0.01), **ADAM, **settings), gradients
    )
    assert_close(ours[-1], torch_trained(make, gradients, clip=2.0))


def test_sgd_with_a_schedule_equals_pytorch_s():
    gradients = some_gradients(12)

    def make(parameters):
        sgd = torch.optim.SGD(parameters.values(), lr=0.02, momentum=0.8, nesterov=True)
        return sgd, torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=10)

    schedule = make_schedule("cosine_decay", 0.02, 10)
    ours, _ = trained(make_optimizer("sgd", schedule, b1=0.8, b2=0.0, eps=0.0), gradients[:10])
    assert_close(ours[-1], torch_trained(make, gradients[:10]))


def test_defaults_are_optax_s_adam_state_and_all():
    ours = make_optimizer("adam", optax.constant_schedule(0.01), **ADAM).init(some_params())
    theirs = optax.adam(lambda _: 0.01, **ADAM).init(some_params())
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)


@pytest.mark.parametrize("freeze", [0, 4])
def test_accumulated_gradients_make_one_update_of_their_mean(freeze):
    gradients, schedule = some_gradients(9), make_schedule("cosine_decay", 0.01, 3)
    settings = ADAM | {"clip": 1.0, "weight_decay": 0.1}
    accumulating = make_optimizer(
        "adamw", schedule, **settings, accumulate=3, freeze_backbone=freeze
    )
    path, state = trained(accumulating, gradients)
    means = [jax.tree.map(lambda *g: np.mean(g, axis=0), *gradients[i : i + 3]) for i in (0, 3, 6)]
    wanted, _ = trained(
        make_optimizer("adamw", schedule, **settings, freeze_backbone=-(-freeze // 3)), means
    )
    for step, params in enumerate(path):
        assert_close(params, wanted[step // 3], rtol=1e-6)
    _, within = trained(accumulating, gradients[:8])
    assert bool(completes_update(state)) and not completes_update(within)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_frozen_backbone_stays_and_starts_as_if_it_were_new(name):
    gradients, decay = some_gradients(8), {"weight_decay": 0.2} if name == "adamw" else {}
    schedule = optax.constant_schedule(0.01)
    path, _ = trained(make_optimizer(name, schedule, **ADAM, **decay, freeze_backbone=5), gradients)
    plain = make_optimizer(name, schedule, **ADAM, **decay)
    for params in path[1:6]:
        jax.tree.map(np.testing.assert_array_equal, params["backbone"], path[0]["backbone"])
    assert_close(
        {"head": path[-1]["head"]}, {"head": trained(plain, gradients)[0][-1]["head"]}, rtol=1e-6
    )
    # The frozen steps have left no moments and no count.
    from_five, _ = trained(plain, gradients[5:])
    assert_close(
        {"backbone": path[-1]["backbone"]}, {"backbone": from_five[-1]["backbone"]}, rtol=1e-6
    )


def test_the_schedule_advances_while_the_backbone_is_frozen():
    gradients = [jax.tree.map(np.ones_like, some_params())] * 4
    schedule = make_schedule("piecewise_constant", 1.0, 4, "{'boundaries_and_scales': {3: 0.125}}")
    path, _ = trained(
        make_optimizer("sgd", schedule, b1=0.0, b2=0.0, eps=0.0, freeze_backbone=3), gradients
    )
    np.testing.assert_allclose(
        path[4]["backbone"]["bias"], path[3]["backbone"]["bias"] - 0.125, rtol=1e-5
    )


def test_what_is_frozen_counts_nothing_where_gradients_are_clipped():
    gradients = some_gradients(1)
    gradients[0]["backbone"] = jax.tree.map(lambda g: 1e3 * g, gradients[0]["backbone"])
    norm = float(optax.tree.norm(gradients[0]["head"]))
    sgd = {"b1": 0.0, "b2": 0.0, "eps": 0.0, "clip": 2 * norm}
    path, _ = trained(
        make_optimizer("sgd", optax.constant_schedule(1.0), **sgd, freeze_backbone=1), gradients
    )
    assert_close(
        {"head": path[1]["head"]},
        jax.tree.map(np.subtract, {"head": path[0]["head"]}, {"head": gradients[0]["head"]}),
    )
