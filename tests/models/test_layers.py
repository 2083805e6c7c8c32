"""Matrix products, convolutions and pools against those of flax.linen.

The same parameters, results and gradients.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from hpa_jax.models import create_model, init_variables, layers
from hpa_jax.models.layers import Conv, Dense
from hpa_jax.models.pooling import max_pool
from hpa_jax.parallel.mesh import make_mesh, put_batch

pytestmark = pytest.mark.usefixtures("compiled_once")

# Side of the image, kernel, stride, padding: those of the nets, and strides that leave out the last
# row or column.
CONVOLUTIONS = [
    (12, (7, 7), 2, 3),
    (9, (3, 3), 1, 1),
    (9, (3, 3), 2, 0),
    (10, (1, 7), 1, ((0, 0), (3, 3))),
]


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gradients(layer, variables, x):
    """Of a scalar, by the variables and by the input, as a list of arrays."""

    def loss(variables, x):
        y = layer.apply(variables, x)
        return jnp.sum(jnp.sin(y.astype(jnp.float32)))

    return jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1)))(variables, x))


def assert_same_layer(ours, theirs, x, dtype):
    variables = ours.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs.init(jax.random.key(1), x))
    variables = jax.tree.map(lambda a: a + 0.1, variables)
    assert ours.apply(variables, x).dtype == dtype
    if dtype == jnp.float32:
        np.testing.assert_array_equal(ours.apply(variables, x), theirs.apply(variables, x))

    exact = theirs.clone(dtype=jnp.float32)
    of_ours = gradients(ours, variables, x)
    of_theirs = gradients(theirs, variables, x)
    of_exact = gradients(exact, variables, x)
    for own, other, true in zip(of_ours, of_theirs, of_exact, strict=True):
        assert own.dtype == jnp.float32 and own.shape == other.shape
        largest = np.abs(true).max()
        if dtype == jnp.float32:
            np.testing.assert_allclose(own, other, atol=1e-6 * largest)
        else:
            # Summed in float32, ours are no further from the truth.
            own_error = np.abs(own - true).mean()
            other_error = np.abs(other - true).mean()
            assert own_error < 1.1 * other_error < 0.1 * largest


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("side, kernel, stride, padding", CONVOLUTIONS)
def test_a_convolution_is_that_of_flax(side, kernel, stride, padding, dtype):
    ours = Conv(6, kernel, stride, padding, dtype=dtype)
    theirs = nn.Conv(6, kernel, stride, padding=padding, dtype=dtype)
    assert_same_layer(ours, theirs, images(2, side, side + 1, 5), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(7, 5), (2, 6, 4, 5)])
def test_a_dense_layer_is_that_of_flax(shape, dtype):
    assert_same_layer(Dense(6, dtype=dtype), nn.Dense(6, dtype=dtype), images(*shape), dtype)


def test_a_net_of_other_shapes_is_refused_by_name():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Dense(6, name="conv1")(x)

    variables = Net().init(jax.random.key(0), images(2, 5))
    with pytest.raises(ValueError, match=r"conv1/kernel has the shape \(5, 6\), and not \(4, 6\)"):
        Net().apply(variables, images(2, 4))


@pytest.mark.parametrize(
    "height, width, padding", [(8, 8, 1), (9, 7, 1), (7, 10, 1), (9, 9, 0), (10, 12, 0), (11, 8, 0)]
)
def test_the_gradient_of_a_pool_goes_to_the_first_of_the_largest(height, width, padding):
    around = (padding, padding)

    def ours(x):
        return max_pool(x, padding)

    def theirs(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=(around, around))

    x = np.maximum(images(2, height, width, 3).round(1), 0)  # many are equal
    expected = theirs(x)
    np.testing.assert_array_equal(ours(x), expected)
    g = images(*expected.shape, seed=1)

    def gradient_of(pool):
        return jax.jit(lambda x: jax.vjp(pool, x)[1](g)[0])(x)

    np.testing.assert_allclose(gradient_of(ours), gradient_of(theirs), atol=1e-6)
    program = jax.jit(jax.grad(lambda x: ours(x).sum())).lower(x).as_text()
    assert "select_and_scatter" not in program


def test_a_tpu_keeps_its_own_operation():
    step = jax.jit(jax.grad(lambda x: max_pool(x, 1).sum())).trace(images(2, 8, 8, 3))
    assert "select_and_scatter" in step.lower(lowering_platforms=("tpu",)).as_text()


def kernel_gradient(x, g):
    """Of a 3x3 convolution, one pixel of zeros around the images."""
    return jax.lax.conv_general_dilated(
        x, g, (1, 1), ((1, 1), (1, 1)), dimension_numbers=layers.KERNEL_GRADIENT_LAYOUT
    )


def narrow_sums(mesh):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return layers._narrow_sums(kernel_gradient, jnp.float32)


@pytest.mark.parametrize("devices", [1, 8])
def test_on_gpus_the_sums_of_a_kernel_are_narrow_within_a_device_alone(devices):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 16, 16, 8)), jnp.bfloat16)
    g = jnp.asarray(rng.normal(size=(8, 16, 16, 4)), jnp.bfloat16)
    mesh = make_mesh(jax.devices()[:devices])

    def summed(x, g):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return layers._narrow_sums(kernel_gradient, jnp.float32)(x, g)

    arrays = put_batch({"x": x, "g": g}, mesh)
    program = jax.jit(summed).lower(**arrays).compile()
    found = np.asarray(program(**arrays))
    assert found.dtype == np.float32
    complete = np.asarray(kernel_gradient(x.astype(jnp.float32), g.astype(jnp.float32)))
    assert np.linalg.norm(found - complete) / np.linalg.norm(complete) < 2**-8

    over_devices = re.findall(r"= (\w+)\[[^=]* all-reduce", program.as_text())
    assert set(over_devices) == ({"f32"} if devices > 1 else set())


def test_where_images_are_split_or_nobody_says_how_they_lie_the_sums_stay_wide():
    assert layers._narrow_sums(kernel_gradient, jnp.float32) is None
    assert narrow_sums(make_mesh(jax.devices(), space=2)) is None
    assert narrow_sums(make_mesh(jax.devices())) is not None


def test_a_step_on_a_gpu_has_the_gradients_of_one_elsewhere(monkeypatch):
    net = create_model("densenet_tiny", head="linear", num_labels=3, dtype="bfloat16")
    variables = init_variables(net, (32, 32, 4), seed=0)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 4)).astype(np.float32)
    mesh = make_mesh(jax.devices()[:1])

    def loss(params):
        variables_then = {"params": params, "batch_stats": variables["batch_stats"]}
        key = {"dropout": jax.random.key(0)}
        logits, _ = net.apply(variables_then, images, train=True, mutable=["batch_stats"], rngs=key)
        return jnp.mean(jnp.square(logits))

    def gradients():
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            found = jax.jit(jax.grad(loss))(variables["params"])
        return flatten_dict(jax.device_get(found))

    elsewhere = gradients()
    calls = []

    def of_gpu(*arguments, cuda=None, default, **_):
        if cuda is None:
            return default(*arguments)
        calls.append(cuda)
        return cuda(*arguments)

    monkeypatch.setattr(layers.lax, "platform_dependent", of_gpu)
    for name, gradient in gradients().items():
        assert gradient.dtype == np.float32
        difference = np.linalg.norm(gradient - elsewhere[name])
        assert difference <= 2**-8 * np.linalg.norm(elsewhere[name]), name
    assert len(calls) == 7  # the stem's and six layers'
