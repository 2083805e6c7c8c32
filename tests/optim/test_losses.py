"""Losses against NumPy, brute force over sets, PyTorch and scikit-learn; finite at any logit."""

import inspect
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.metrics import f1_score
from support.loss_references import (
    LABEL_WEIGHTS,
    MARGINS,
    NUMPY,
    WEIGHTS,
    differences,
    jaccard_loss,
    torch_value_and_gradient,
)

from hpa_jax import config
from hpa_jax.errors import InputError
from hpa_jax.optim.losses import LOSSES, asymmetric, bce, focal, ldam, make_loss, weighted

FROM_LABELS = {
    "weighted": {"positive_weights": WEIGHTS},
    "ldam": {"margins": MARGINS, "label_weights": LABEL_WEIGHTS},
}
FAST = {"xla_backend_optimization_level": 0}  # compiling is what these tests spend their time on


def case(images=5, seed=0, spread=2.0):
    """Logits and targets of five labels; the last has no positives, the fourth no negatives."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 5)) < 0.4).astype(np.uint8)
    targets[:, -1] = 0
    targets[:, -2] = 1
    return rng.normal(0, spread, targets.shape).astype(np.float32), targets


@cache
def step_of(name):
    """Value and gradient of a loss, with the options of an entry of NUMPY where it is one."""
    term = name.partition(" ")[0]
    options = dict(FROM_LABELS)
    if name in NUMPY:
        special, _ = NUMPY[name]
        options[term] = options.get(term, {}) | special
    loss = make_loss(term, options)
    return jax.jit(jax.value_and_grad(loss), compiler_options=FAST)


def value_of(name, logits, targets):
    return step_of(name)(logits, targets)[0]


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("images", [1, 5])
def test_value_and_gradient_equal_plain_numpy(name, images):
    logits, targets = case(images, seed=images)
    value, gradient = step_of(name)(logits, targets)
    assert value.dtype == jnp.float32 and value.shape == ()
    reference = NUMPY[name][1]
    np.testing.assert_allclose(value, reference(np.float64(logits), targets), rtol=1e-5)
    expected = differences(reference, np.float64(logits), targets)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_equals_pytorch_with_gradient(name):
    logits, targets = case(64, seed=1, spread=4.0)
    logits[0] = 30.0
    value, gradient = step_of(name)(logits, targets)
    expected = torch_value_and_gradient(name, logits, targets)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sharded_batch_has_the_same_loss_and_gradient(name):
    logits, targets = case(64, seed=8)
    mesh = jax.make_mesh((8, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    batch = jax.device_put((logits, targets), NamedSharding(mesh, P("data")))
    compiled = step_of(name).lower(*batch).compile()
    value, gradient = compiled(*batch)
    assert len(value.sharding.device_set) == 8
    alone = step_of(name)(logits, targets)
    np.testing.assert_allclose(value, alone[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, alone[1], rtol=1e-4, atol=1e-8)
    gathers = re.search(r"all-gather|all-to-all|collective-permute", compiled.as_text()) is not None
    assert gathers == (name == "lovasz")  # only this one sorts the images


def test_special_cases_are_binary_cross_entropy():
    logits, targets = case(seed=2)
    expected = value_of("bce", logits, targets)

    def assert_equal(loss, expected, **settings):
        found = jax.jit(partial(loss, **settings), compiler_options=FAST)(logits, targets)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    assert_equal(weighted, expected, positive_weights=np.ones(5))
    assert_equal(ldam, expected, margins=np.zeros(5), label_weights=np.ones(5))
    assert_equal(focal, expected, gamma=0)
    assert_equal(focal, expected / 2, gamma=0, alpha=0.5)
    for clip in (0, 1e-12):  # clipping by next to nothing takes the other branch
        assert_equal(asymmetric, expected, gamma_positive=0, gamma_negative=0, clip=clip)
        assert_equal(
            asymmetric,
            value_of("focal", logits, targets),
            gamma_positive=2,
            gamma_negative=2,
            clip=clip,
        )


def test_soft_f1_of_hard_decisions_is_one_minus_macro_f1():
    logits, targets = case(64, seed=4)
    logits[:, 0] = -1  # a label that is never predicted
    logits[:, -1] = -1  # and one that is neither predicted nor positive
    expected = f1_score(targets, logits > 0, average="macro", zero_division=0)
    np.testing.assert_allclose(
        value_of("soft_f1", 1e3 * np.sign(logits), targets), 1 - expected, rtol=1e-6
    )


def test_lovasz_at_margins_of_one_is_twice_the_jaccard_loss():
    logits, targets = case(64, seed=5)
    expected = []
    for predicted, truth in zip((logits > 0).T, targets.T, strict=True):
        wrong = set(np.flatnonzero(predicted != truth))
        for side in (0, 1):
            expected.append(jaccard_loss(wrong, set(np.flatnonzero(truth == side))))
    np.testing.assert_allclose(
        value_of("lovasz", np.sign(logits), targets), 2 * np.mean(expected), rtol=1e-6
    )
    assert value_of("lovasz", np.where(targets, np.float32(1), np.float32(-1)), targets) == 0


def test_lovasz_of_equal_errors_does_not_depend_on_their_order():
    _, targets = case(64, seed=6)
    logits = np.full(targets.shape, 0.25, np.float32)
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_allclose(
        value_of("lovasz", logits, targets[order]), value_of("lovasz", logits, targets), rtol=1e-6
    )


@pytest.mark.parametrize("name", NUMPY)
def test_finite_at_extreme_logits(name):
    for logit in (-1e4, -100.0, 0.0, 100.0, 1e4):
        for targets in (case()[1], np.zeros((5, 5), np.uint8), np.ones((5, 5), np.uint8)):
            value, gradient = step_of(name)(np.full((5, 5), logit, np.float32), targets)
            assert np.isfinite(value) and value >= 0 and np.isfinite(gradient).all(), (
                logit,
                targets,
            )


def test_a_positive_at_minus_ten_thousand_still_has_a_gradient():
    """Where a score is clamped before its logarithm, as in published code, it has none."""
    for name in ("bce", "weighted", "focal", "asymmetric", "ldam", "lovasz"):
        _, gradient = step_of(name)(np.full((5, 5), -1e4, np.float32), np.ones((5, 5), np.uint8))
        assert (gradient < 0).all(), name


@pytest.mark.parametrize("name", NUMPY)
def test_a_logit_that_is_not_a_number_is_never_hidden(name):
    logits, targets = case()
    logits[2, -1] = np.nan  # a negative, of a label without positives
    assert np.isnan(value_of(name, logits, targets))


@pytest.mark.parametrize("name", LOSSES)
def test_float32_whatever_comes_in(name):
    logits, targets = case(seed=7)
    logits = logits.astype(np.float16)  # its values are exact in all of these
    expected = value_of(name, logits.astype(np.float32), targets)
    np.testing.assert_array_equal(value_of(name, logits, targets > 0), expected)
    with jax.enable_x64(True):
        value, gradient = step_of(name)(logits.astype(np.float64), targets.astype(np.int64))
        assert value.dtype == jnp.float32 and gradient.dtype == jnp.float64
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_a_sum_is_the_weighted_sum_of_its_terms():
    logits, targets = case(seed=9)
    weights = dict(zip(LOSSES, (1.0, 0.25, 14.0, 2.0, 1.5, 0.5, 3e-1), strict=True))
    terms = " , ".join(f"{name}:{weight}" for name, weight in weights.items())
    loss = make_loss(terms, FROM_LABELS)
    summed = jax.jit(jax.value_and_grad(loss), compiler_options=FAST)(logits, targets)
    each = {name: step_of(name)(logits, targets) for name in LOSSES}
    for part, found in enumerate(summed):  # the value, and the gradient
        expected = sum(weight * each[name][part] for name, weight in weights.items())
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_descent_makes_every_decision_right(name):
    _, targets = case(seed=10)
    targets[0] = 1  # soft_f1 does not see the negatives of a label without positives
    logits = np.zeros(targets.shape, np.float32)
    for _ in range(100):
        logits = logits - 5 * np.asarray(step_of(name)(logits, targets)[1])
    np.testing.assert_array_equal(logits > 0, targets > 0)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            "hinge",
            "'hinge' is unknown; choose from bce, weighted, focal, asymmetric, ldam, lovasz, ",
        ),
        ("", "'' is unknown"),
        ("bce,", "'' is unknown"),
        ("focal:0.5,focal:0.5", "'focal' twice"),
        ("bce:", "weight '' of 'bce'"),
        ("bce:half", "weight 'half' of 'bce'"),
        ("bce:0.5:2", "weight '0.5:2' of 'bce'"),
        *((f"bce:{weight}", f"weight '{weight}' of 'bce'") for weight in ("0", "-1", "nan", "inf")),
    ],
)
def test_bad_terms_are_refused_by_name(terms, message):
    with pytest.raises(InputError, match=message) as caught:
        make_loss(terms)
    assert "config.train.loss=" in str(caught.value) and "\n" not in str(caught.value)


def test_what_follows_from_the_labels_has_to_be_there():
    with pytest.raises(ValueError, match="'weighted' needs positive_weights"):
        make_loss("bce,weighted")
    with pytest.raises(ValueError, match="'ldam' needs label_weights"):
        make_loss("bce,ldam", {"ldam": {"margins": MARGINS}})


def test_defaults_are_those_of_the_configuration():
    settings = config.Loss()
    for name, loss in LOSSES.items():
        for parameter in inspect.signature(loss).parameters.values():
            if parameter.default is not parameter.empty:
                assert getattr(settings, f"{name}_{parameter.name}") == parameter.default


def test_options_of_other_losses_are_ignored():
    logits, targets = case(seed=11)
    loss = make_loss("bce", {"focal": {"gamma": 3.0}, "weighted": {}})
    np.testing.assert_allclose(loss(logits, targets), value_of("bce", logits, targets), rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("positive_power", -0.5),
        ("positive_limit", 0.5),
        ("focal_gamma", -1.0),
        ("focal_alpha", 1.5),
        ("asymmetric_gamma_positive", float("nan")),
        ("asymmetric_gamma_negative", -1.0),
        ("asymmetric_clip", 1.0),
        ("ldam_margin", -0.5),
        ("ldam_scale", 0.0),
        ("ldam_beta", 1.0),
        ("ldam_reweight_after", 1.5),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    wrong = config.Config()
    config.check(wrong)
    setattr(wrong.loss, field, value)
    with pytest.raises(InputError, match=f"config.loss.{field}={value}"):
        config.check(wrong)


def test_bce_is_the_mean_over_all_pairs():
    assert bce(np.zeros((5, 5), np.float32), case()[1]) == pytest.approx(np.log(2))
