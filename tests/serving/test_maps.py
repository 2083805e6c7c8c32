"""Maps in closed form are those that take a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.models import create_model
from hpa_jax.serving.maps import CLOSED_FORMS, gradient_maps

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "head",
    [pytest.param(head, marks=() if head == "norm_linear" else SLOW) for head in CLOSED_FORMS],
)
def test_a_closed_form_equals_the_gradients(head):
    net = "all_cnn" if head == "all_cnn" else "densenet_tiny"
    model = create_model(net, head=head, num_labels=5, dtype="float32")
    rng = np.random.default_rng(0)
    features = rng.normal(2, 1, (3, 4, 5, 7)).astype(np.float32)
    drawn = model.init(jax.random.key(0), features, train=False, method="classify")
    variables = jax.tree.map(lambda a: a + rng.normal(0, 0.3, a.shape).astype(a.dtype), drawn)
    expected = gradient_maps(model, variables, jnp.asarray(features))
    found = CLOSED_FORMS[head](model, variables, jnp.asarray(features))
    assert found.shape == (3, 4, 5, 5) and float(expected.max()) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(expected.max()))
