"""Maps in closed form are those that take a gradient."""

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from support.compiling import compile_quickly
from support.drawn_variables import drawn

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
    features = np.random.default_rng(0).normal(2, 1, (3, 4, 5, 7)).astype(np.float32)

    def init():
        return model.init(jax.random.key(0), features, train=False, method="classify")

    variables = unflatten_dict(drawn(jax.eval_shape(init)), sep="/")

    def both(variables, features):
        found = CLOSED_FORMS[head](model, variables, features)
        return found, gradient_maps(model, variables, features)

    found, expected = compile_quickly(both, variables, features)(variables, features)
    largest = float(expected.max())
    assert found.shape == (3, 4, 5, 5) and largest > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5 * largest)
