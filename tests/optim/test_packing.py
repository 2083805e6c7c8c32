"""Stacked parameters: there and back, the updates of the plain tree, and fewer operations."""

import re
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from hpa_jax.models.norm import BatchNorm
from hpa_jax.optim import losses
from hpa_jax.optim.optimizer import make_optimizer
from hpa_jax.optim.packing import pack, unpack
from hpa_jax.parallel.compile import compile_for
from hpa_jax.training.state import new_state
from hpa_jax.training.steps import make_train_step
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES

SHAPES = {
    "backbone": {
        "b": {
            "conv": {"kernel": (3, 2, 4)},
            "next": {"kernel": (3, 5, 4)},
            "norm": {"scale": (2, 2), "bias": (4,)},
        },
        "a": {"scale": (5,), "kernel": (2, 2)},
    },
    "head": {"dense": {"kernel": (4, 3), "bias": (3,)}},
    "attention": {"kernel": (6,)},
}
SETTINGS = [
    {"name": "adam"},
    {"name": "adamw", "weight_decay": 0.3, "clip": 0.5, "backbone_lr": 0.2},
    {"name": "adamw", "weight_decay": 0.3, "clip": 0.5, "accumulate": 2, "freeze_backbone": 3},
    {"name": "sgd", "freeze_backbone": 2},
]


def a_tree(seed):
    rng = np.random.default_rng(seed)

    def draw(shape):
        return rng.normal(size=shape).astype(np.float32)

    return jax.tree.map(draw, SHAPES, is_leaf=lambda node: isinstance(node, tuple))


def test_arrays_are_joined_by_part_kind_and_shape():
    tree = a_tree(0)
    a, b, dense = tree["backbone"]["a"], tree["backbone"]["b"], tree["head"]["dense"]
    wanted = {
        "backbone": {
            "kernel": {
                "nx2": a["kernel"],
                "3xnx4": np.concatenate([b["conv"]["kernel"], b["next"]["kernel"]], 1),
            },
            "rest": {
                "n": np.concatenate([a["scale"], b["norm"]["bias"]]),
                "nx2": b["norm"]["scale"],
            },
        },
        "head": {"kernel": {"nx3": dense["kernel"]}, "rest": {"n": dense["bias"]}},
        "attention": {"kernel": {"n": tree["attention"]["kernel"]}},
    }
    packed = pack(tree)
    assert jax.tree.structure(packed) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, packed, wanted)


@pytest.mark.parametrize("left_out", [(), ("head", "attention"), ("backbone",)])
def test_what_is_packed_comes_back(left_out):
    tree = {name: members for name, members in a_tree(1).items() if name not in left_out}
    back = unpack(pack(tree), tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_on_a_cpu_arrays_of_one_shape_are_taken_apart_by_one_kernel():
    shapes = [(4, 8)] * 5 + [(6, 8)] * 3
    tree = {"backbone": {f"layer{n}": {"kernel": np.ones(s)} for n, s in enumerate(shapes)}}

    def step(packed):
        return unpack(jax.tree.map(lambda array: 2 * array, packed), tree)

    text = compile_for("cpu", jax.jit(step), pack(tree)).as_text()
    # What XLA compares to find kernels that are the same: all but the names.
    kernels = re.findall(r"^%\S*fus\S* \(.*?{\n(.*?)^}", text, re.MULTILINE | re.DOTALL)
    bodies = [re.sub(r"%[\w.-]+|, metadata={.*?}", "", kernel) for kernel in kernels]
    assert len(bodies) == len(shapes) and len(set(bodies)) == 2, bodies


@pytest.mark.parametrize(
    "settings", SETTINGS, ids=lambda settings: "_".join(map(str, settings.values()))
)
def test_updates_of_what_is_packed_are_those_of_the_tree(settings):
    settings = {"b1": 0.9, "b2": 0.99, "eps": 1e-8} | settings
    optimizer = make_optimizer(
        settings.pop("name"), optax.cosine_decay_schedule(0.1, 8), **settings
    )
    update = jax.jit(optimizer.update)
    tree = a_tree(2)
    packed = pack(tree)
    tree_state = optimizer.init(tree)
    packed_state = optimizer.init(packed)
    for step in range(6):
        gradients = a_tree(10 + step)
        updates, tree_state = update(gradients, tree_state, tree)
        tree = optax.apply_updates(tree, updates)
        updates, packed_state = update(pack(gradients), packed_state, packed)
        packed = optax.apply_updates(packed, updates)
        close = partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-7)
        jax.tree.map(close, unpack(packed, tree), tree)


class Backbone(nn.Module):
    layers: int

    @nn.compact
    def __call__(self, x, *, train):
        for _ in range(self.layers):
            x = nn.relu(BatchNorm()(nn.Dense(8)(x), train=train))
        return x


class Net(nn.Module):
    layers: int

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(3, name="head")(
            Backbone(self.layers, name="backbone")(images.mean((1, 2)), train=train)
        )


def test_a_deeper_net_adds_no_operations_to_the_optimizer():
    preparation = {"channel_mix": CHANNEL_MIXES["rgby"], "mean": (0.3,) * 4, "std": (0.2,) * 4}
    settings = {"seed": 0, "augmentation": {"flips": False}, "preparation": preparation}
    batch = {"image": np.zeros((2, 4, 4, 4), np.uint8), "targets": np.zeros((2, 3), np.uint8)}

    def roots(net):
        """Square roots in a step: of second moments, one per array, and of the gradient's norm."""
        optimizer = make_optimizer("adam", optax.constant_schedule(0.1), b1=0.9, b2=0.99, eps=1e-8)
        variables = net.init(jax.random.key(0), np.zeros((1, 4, 4, 4), np.float32), train=False)
        step = make_train_step(net, optimizer, losses.make_loss("bce"), **settings)
        program = jax.make_jaxpr(step)(new_state(variables, optimizer), batch)
        return sum(equation.primitive.name == "sqrt" for equation in program.eqns)

    joined = ("backbone/kernel", "backbone/rest", "head/kernel", "head/rest")
    assert roots(Net(2)) == roots(Net(6)) == 1 + len(joined)
