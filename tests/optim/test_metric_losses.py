"""ArcFace and the supervised contrastive loss against PyTorch; finite at the ends of a cosine."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as torch_nn
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from hpa_jax.optim import metric_losses
from hpa_jax.optim.metric_losses import (
    arcface,
    jaccard,
    same_class_weights,
    same_set,
    supervised_contrastive,
    with_margin,
)

FAST = {"xla_backend_optimization_level": 0}
ARCFACE = jax.jit(jax.value_and_grad(arcface, argnums=(0, 1)), compiler_options=FAST)
CONTRASTIVE = jax.jit(jax.value_and_grad(supervised_contrastive), compiler_options=FAST)


def torch_arcface(embeddings, class_weights, classes, *, scale=30.0, margin=0.5):
    """By the angle itself, as the paper has it."""
    cosine = torch_nn.linear(torch_nn.normalize(embeddings), torch_nn.normalize(class_weights))
    angle = torch.acos(cosine)
    lowered = torch.cos(angle + margin)
    lowered = torch.where(angle > math.pi - margin, cosine - margin * math.sin(margin), lowered)
    own = torch_nn.one_hot(classes, len(class_weights)).bool()
    return torch_nn.cross_entropy(scale * torch.where(own, lowered, cosine), classes)


def torch_contrastive(embeddings, weights, *, temperature=0.1):
    """Image by image."""
    unit = torch_nn.normalize(embeddings)
    losses = []
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if j != i]
        total = sum(weights[i, j] for j in others)
        if total == 0:
            continue
        logits = unit[others] @ unit[i] / temperature
        log_likelihood = torch_nn.log_softmax(logits, dim=0)
        losses.append(-(weights[i, others] * log_likelihood).sum() / total)
    return torch.stack(losses).mean()


def drawn(images=16, classes=5, width=7, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(images, width)).astype(np.float32)
    class_weights = rng.normal(size=(classes, width)).astype(np.float32)
    of_image = rng.integers(0, classes, images)
    # One beyond pi - m from its own class, where the margin is linear.
    embeddings[0] = -class_weights[of_image[0]] + 0.05 * embeddings[0]
    targets = (rng.random((images, 4)) < 0.4).astype(np.uint8)
    targets[1] = 0
    return embeddings, class_weights, of_image, targets


def torch_gradients(loss, *arrays):
    tensors = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in arrays]
    value = loss(*tensors)
    value.backward()
    return value.item(), [tensor.grad.numpy() for tensor in tensors]


def test_arcface_equals_pytorch_with_both_gradients():
    embeddings, class_weights, classes, _ = drawn()
    value, gradients = ARCFACE(embeddings, class_weights, classes)
    reference = partial(torch_arcface, classes=torch.tensor(classes))
    expected, expected_gradients = torch_gradients(reference, embeddings, class_weights)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for gradient, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, theirs, rtol=1e-3, atol=2e-5)
    assert value.dtype == jnp.float32 and value.shape == ()
    # Without a margin it is the cross entropy of scaled cosines.
    tensors = map(torch.tensor, (embeddings, class_weights))
    cosine = torch_nn.linear(*map(torch_nn.normalize, tensors))
    expected = torch_nn.cross_entropy(10 * cosine, torch.tensor(classes))
    found = jax.jit(partial(arcface, scale=10.0, margin=0.0))(embeddings, class_weights, classes)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_margin_holds_at_both_ends_of_a_cosine_with_finite_gradients():
    angles = np.linspace(0.01, math.pi, 400)
    ends = [1.0, -1.0, 1.0000001, -1.0000001, 0.99999994]
    cosines = np.concatenate([np.cos(angles), ends]).astype(np.float32)

    @jax.jit
    @jax.vmap
    @jax.value_and_grad
    def lowered(cosine):
        return with_margin(cosine[None, None], np.zeros(1, np.int32), margin=0.5)[0, 0]

    values, gradients = lowered(cosines)
    least = -1 - 0.5 * math.sin(0.5)
    expected = [math.cos(0.5), least, math.cos(0.5), least, math.cos(0.5)]
    np.testing.assert_allclose(values[400:], expected, atol=3e-4)
    assert np.isfinite(gradients).all()
    # It falls all the way from 0 to pi, which is what "not easy" buys.
    assert (np.diff(values[:400]) < 0).all()


def test_embeddings_on_their_class_opposite_it_or_of_no_length_are_finite():
    class_weights = np.eye(5, 7, dtype=np.float32)
    embeddings = np.zeros((16, 7), np.float32)
    embeddings[0, 0] = 2
    embeddings[1, 1] = -3
    value, gradients = ARCFACE(embeddings, class_weights, np.arange(16) % 5)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    value, gradient = CONTRASTIVE(embeddings * 0, np.ones((16, 16), np.float32))
    np.testing.assert_allclose(value, math.log(15), rtol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("weights_of", metric_losses.LABEL_SET_WEIGHTS.values())
def test_the_contrastive_loss_equals_pytorch_with_gradient(weights_of):
    embeddings, _, _, targets = drawn(seed=1)
    weights = jax.jit(weights_of)(targets)
    value, (gradient,) = torch_gradients(
        lambda found: torch_contrastive(found, torch.tensor(np.array(weights))), embeddings
    )
    found, found_gradient = CONTRASTIVE(embeddings, weights)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    np.testing.assert_allclose(found_gradient, gradient, rtol=1e-3, atol=2e-6)


def test_pairs_are_weighted_by_what_their_labels_have_in_common():
    targets = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], np.uint8)
    expected = np.zeros((6, 6))
    for i, j in np.ndindex(6, 6):
        first, second = set(np.flatnonzero(targets[i])), set(np.flatnonzero(targets[j]))
        if first | second:
            expected[i, j] = len(first & second) / len(first | second)
    found = jax.jit(lambda targets: (jaccard(targets), same_set(targets)))(targets)
    np.testing.assert_allclose(found[0], expected)
    np.testing.assert_array_equal(found[1], expected == 1)
    of_classes = same_class_weights(np.array([2, 0, 2]))
    np.testing.assert_array_equal(of_classes, [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_images_without_a_positive_do_not_count():
    embeddings, _, _, _ = drawn()
    assert CONTRASTIVE(embeddings, np.eye(16, dtype=np.float32))[0] == 0
    weights = np.zeros((16, 16), np.float32)
    weights[:2, :2] = 1
    value, _ = CONTRASTIVE(embeddings, weights)
    expected = torch_contrastive(torch.tensor(embeddings), torch.tensor(weights))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_bfloat16_is_computed_in_float32():
    embeddings, class_weights, classes, _ = drawn()
    short = jnp.asarray(embeddings, jnp.bfloat16)
    value, (gradient, _) = ARCFACE(short, class_weights, classes)
    expected, _ = ARCFACE(np.asarray(short, np.float32), class_weights, classes)
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_a_sharded_batch_has_the_same_loss():
    embeddings, _, classes, _ = drawn()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    weights = np.equal.outer(classes, classes).astype(np.float32)
    rows = jax.device_put((embeddings, weights), NamedSharding(mesh, P("data")))
    sharded, _ = CONTRASTIVE(*rows)
    np.testing.assert_allclose(sharded, CONTRASTIVE(embeddings, weights)[0], rtol=1e-6)
