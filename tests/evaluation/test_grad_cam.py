"""Grad-CAM against its definition, and against CAM for the linear head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.evaluation.grad_cam import make_grad_cam
from hpa_jax.models import create_model, init_variables
from hpa_jax.parallel.mesh import make_mesh, put_batch
from hpa_jax.transforms.augment import prepare
from hpa_jax.transforms.channel_mix import parse_channel_mix

PREPARATION = {
    "channel_mix": parse_channel_mix("rgby"),
    "mean": (0.1, 0.2, 0.1, 0.1),
    "std": (0.2, 0.3, 0.2, 0.2),
}
QUICK = {"xla_backend_optimization_level": 0}

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 96, 96, 4), np.uint8)


def net(head):
    model = create_model("densenet_tiny", head=head, num_labels=5, dtype="float32")
    variables = init_variables(model, (96, 96, 4), seed=1)
    rng = np.random.default_rng(2)
    variables = jax.tree.map(
        lambda a: (a + rng.normal(0, 0.1, a.shape) ** 2).astype(np.float32), variables
    )
    return model, variables


def maps_of(model, variables, images, labels):
    return jax.device_get(make_grad_cam(model, preparation=PREPARATION)(variables, images, labels))


def features_of(model, variables, images):
    shown = prepare(jnp.asarray(images), **PREPARATION)
    step = jax.jit(
        lambda v, x: model.apply(v, x, train=False, method="features"), compiler_options=QUICK
    )
    return shown, np.asarray(step(variables, shown))


def test_for_the_linear_head_it_is_the_class_activation_map(images):
    model, variables = net("linear")
    labels = np.arange(8, dtype=np.int32) % 5
    heat, logits = maps_of(model, variables, images, labels)
    shown, features = features_of(model, variables, images)
    kernel = variables["params"]["head"]["logits"]["kernel"]  # [F, L]
    cam = np.einsum("byxf,fb->byx", features, kernel[:, labels])
    assert heat.shape == (8, 3, 3) and heat.min() >= 0 and heat.max() > 0
    np.testing.assert_allclose(heat, np.maximum(cam, 0) / 9, rtol=1e-4, atol=1e-6)
    all_logits = np.asarray(model.apply(variables, shown, train=False))
    np.testing.assert_allclose(logits, all_logits[np.arange(8), labels], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["pooled", "hpa_densenet"])
def test_a_feature_counts_as_much_as_the_logit_moves_with_it(head, images):
    """w_f h w is the slope of the logit when feature f is raised everywhere alike: here by finite
    differences.
    """
    model, variables = net(head)
    labels = np.full(8, 3, np.int32)
    heat, _ = maps_of(model, variables, images, labels)
    features = features_of(model, variables, images)[1][:1].astype(np.float32)
    logit_of = jax.jit(
        lambda x: model.apply(variables, x, train=False, method="classify")[:, 3],
        compiler_options=QUICK,
    )
    step = 1e-2
    raised = features + step * np.eye(features.shape[-1], dtype=np.float32)[:, None, None]
    lowered = features - step * np.eye(features.shape[-1], dtype=np.float32)[:, None, None]
    slopes = (np.asarray(logit_of(raised)) - np.asarray(logit_of(lowered))) / (2 * step)
    weights = slopes / np.prod(features.shape[1:3])
    expected = np.maximum((features[0] * weights).sum(-1), 0)
    np.testing.assert_allclose(heat[0], expected, atol=0.02 * max(expected.max(), 1e-3))


def test_an_image_does_not_depend_on_the_rest_of_its_batch_or_on_the_mesh(images):
    model, variables = net("pooled")
    labels = np.arange(8, dtype=np.int32) % 5
    heat, logits = maps_of(model, variables, images, labels)
    other = images.copy()
    other[1:] = 0
    alone, _ = maps_of(model, variables, other, labels)
    np.testing.assert_allclose(alone[0], heat[0], rtol=1e-4, atol=1e-6)
    batch = put_batch({"image": images, "label": labels}, make_mesh())
    sharded, _ = maps_of(model, variables, batch["image"], batch["label"])
    assert np.isfinite(heat).all() and heat.any()
    np.testing.assert_allclose(sharded, heat, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_the_maximum_is_finite_where_the_map_is_computed_twice(images):
    """Unoptimised, XLA computes the last map once for the maximum and once for its gradient, with
    other roundings.
    """
    model, variables = net("pooled")
    step = make_grad_cam(model, preparation=PREPARATION)
    labels = np.full(8, 3, np.int32)
    heat, _ = step.lower(variables, images, labels).compile(compiler_options=QUICK)(
        variables, images, labels
    )
    assert np.isfinite(heat).all() and np.asarray(heat).max() > 0
