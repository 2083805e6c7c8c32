"""Gated attention over the cells of a field, against PyTorch; and what a cell's own logits are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from hpa_jax.models import create_model, init_variables
from hpa_jax.models.cell_attention import (
    CellAttention,
    attention_weights,
    create_cell_classifier,
)

FIELDS, CELLS, FEATURES, LABELS, WIDTH = 5, 7, 6, 4, 3


def drawn(seed=0):
    """Embeddings [B, C, F], which are cells [B, C], and random parameters of the attention."""
    rng = np.random.default_rng(seed)
    cells = rng.standard_normal((FIELDS, CELLS, FEATURES)).astype(np.float32)
    # From one cell to all of them, in any place.
    count = np.array([1, 2, 4, 6, 7])
    order = rng.random((FIELDS, CELLS)).argsort(axis=1)
    is_cell = order < count[:, None]
    module = CellAttention(LABELS, width=WIDTH)
    variables = module.init(jax.random.key(0), jnp.asarray(cells))
    draw = lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32)  # noqa: E731
    return module, jax.tree.map(draw, variables), cells, is_cell


def by_torch(params, cells, is_cell):
    """The weights, field by field, of the cells that are there alone."""
    layers = {}
    for name in ("tanh", "gate", "weights"):
        layer = torch.nn.Linear(*params[name]["kernel"].shape, bias="bias" in params[name])
        layer.weight.data = torch.from_numpy(params[name]["kernel"].T.copy())
        if "bias" in params[name]:
            layer.bias.data = torch.from_numpy(params[name]["bias"].copy())
        layers[name] = layer
    given = torch.from_numpy(cells).requires_grad_()
    weights = torch.zeros(FIELDS, CELLS, LABELS)
    for field in range(FIELDS):
        there = torch.from_numpy(is_cell[field])
        h = given[field][there]
        gated = torch.tanh(layers["tanh"](h)) * torch.sigmoid(layers["gate"](h))
        weights[field, there] = torch.softmax(layers["weights"](gated), dim=0)
    return weights, given


@pytest.mark.parametrize("seed", range(3))
def test_weights_and_gradients_are_pytorchs_of_the_cells_that_are_there(seed):
    module, variables, cells, is_cell = drawn(seed)
    right, given = by_torch(variables["params"], cells, is_cell)

    def weights_of(cells):
        return attention_weights(module.apply(variables, cells), is_cell)

    found = weights_of(cells)
    np.testing.assert_allclose(found, right.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert not np.asarray(found)[~is_cell].any()

    factors = np.random.default_rng(seed).standard_normal(found.shape).astype(np.float32)
    (right * torch.from_numpy(factors)).sum().backward()
    gradient = jax.grad(lambda cells: jnp.sum(factors * weights_of(cells)))(cells)
    np.testing.assert_allclose(gradient, given.grad.numpy(), atol=1e-5)
    assert not np.asarray(gradient)[~is_cell].any()


def test_a_field_that_fills_up_a_batch_has_numbers():
    module, variables, cells, _ = drawn()
    scores = module.apply(variables, cells)
    found = attention_weights(scores, np.zeros((FIELDS, CELLS), bool))
    assert np.isfinite(found).all()


def test_logits_of_a_field_are_the_weighted_mean_of_its_cells_own():
    options = {"head": "linear", "num_labels": LABELS, "dtype": "float32"}
    net = create_cell_classifier("densenet_tiny", attention_width=WIDTH, **options)
    rng = np.random.default_rng(0)
    variables = init_variables(net, (3, 32, 32, 4), seed=0)
    crops = rng.standard_normal((2, 3, 32, 32, 4)).astype(np.float32)
    is_cell = np.array([[True, True, False], [True, False, False]])
    # A classifier without the attention gives each cell's own.
    of_a_cell = create_model("densenet_tiny", **options)
    params = {name: variables["params"][name] for name in ("backbone", "head")}
    alone = {**variables, "params": params}

    @jax.jit
    def both(crops):
        images = crops.reshape(6, 32, 32, 4)
        maps = of_a_cell.apply(alone, images, train=False, method="features")
        logits = of_a_cell.apply(alone, maps, train=False, method="classify")
        scores = net.apply(variables, maps, method="attend")
        return net.apply(variables, crops, is_cell, train=False), maps, logits, scores

    found, maps, logits, scores = map(np.asarray, both(crops))
    logits = logits.reshape(2, 3, -1)
    attention = CellAttention(LABELS, width=WIDTH)
    embeddings = maps.mean(axis=(1, 2))
    alone = attention.apply({"params": variables["params"]["attention"]}, embeddings)
    np.testing.assert_allclose(scores, alone, atol=1e-6)
    weights = attention_weights(scores.reshape(2, 3, -1), is_cell)
    np.testing.assert_allclose(found, (weights * logits).sum(axis=1), atol=1e-5)
    # Of a single cell they are its own.
    np.testing.assert_allclose(found[1], logits[1, 0], atol=1e-5)
