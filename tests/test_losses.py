"""Losses against PyTorch on the CPU, with gradients."""

import jax
import numpy as np
import torch

from hpa_jax.losses import bce


def test_bce_equals_pytorch_with_gradient():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(0, 3, (6, 28)), np.full((1, 28), 60.0), np.full((1, 28), -60.0)])
    targets = rng.integers(0, 2, (8, 28))
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        theirs, torch.tensor(targets).double(), reduction="none"
    )
    expected.mean(1).sum().backward()
    ours = logits.astype(np.float32)
    np.testing.assert_allclose(bce(ours, targets), expected.mean(1).detach(), rtol=1e-5)
    gradient = jax.grad(lambda z: bce(z, targets).sum())(ours)
    np.testing.assert_allclose(gradient, theirs.grad, rtol=1e-4, atol=1e-8)
