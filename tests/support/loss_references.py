"""The losses once more, as a test wants them: plain NumPy from the formulas of the papers, and PyTorch.

NumPy in float64 goes pair by pair or label by label, and the Lovasz extension by brute force over all orders of a few
fields; PyTorch takes whole batches and gives gradients.
"""

import itertools
from functools import cache

import numpy as np
import torch
import torch.nn.functional as torch_nn

WEIGHTS = np.array([0.5, 1, 3, 40, 2], np.float32)
"""Of positives, for `weighted`: five labels."""


def logistic(z):
    return 1 / (1 + np.exp(-z))


def mean_of_pairs(of_positive, of_negative):
    def loss(logits, targets):
        pairs = [
            of_positive(logistic(z), i) if t else of_negative(logistic(z), i)
            for z, t, i in each(logits, targets)
        ]
        return np.mean(pairs)

    def each(logits, targets):
        return ((logits[b, i], targets[b, i], i) for b, i in np.ndindex(logits.shape))

    return loss


def mean_of_labels(of_column):
    return lambda logits, targets: np.mean(
        [of_column(z, t) for z, t in zip(logits.T, targets.T, strict=True)]
    )


def jaccard_loss(wrong, positives):
    """Of the prediction that errs in the set `wrong`."""
    predicted = positives ^ wrong
    union = positives | predicted
    return 1 - len(positives & predicted) / len(union) if union else 0.0


@cache
def increments(fields, positives):
    """By how much the loss grows with each further field that is wrong, for every order of the fields."""
    orders = list(itertools.permutations(range(fields)))
    levels = [
        [jaccard_loss(frozenset(order[:k]), positives) for k in range(fields + 1)]
        for order in orders
    ]
    return np.array(orders), np.diff(levels)


def lovasz_extension(errors, positives):
    """At errors of 0 or more: the largest value that any order of the fields gives (Edmonds 1970)."""
    orders, growth = increments(len(errors), positives)
    return np.max(np.sum(errors[orders] * growth, axis=1))


def lovasz_of_label(logits, targets):
    errors = np.maximum(1 - (2.0 * targets - 1) * logits, 0)
    return np.mean(
        [
            lovasz_extension(errors, frozenset(np.flatnonzero(targets == side).tolist()))
            for side in (1, 0)
        ]
    )


def soft_f1_of_label(logits, targets):
    p = logistic(logits)
    tp, fp, fn = (p * targets).sum(), (p * (1 - targets)).sum(), ((1 - p) * targets).sum()
    return 1 - 2 * tp / (2 * tp + fp + fn)


def asymmetric_of(plus, minus, clip):
    def of_negative(p, _):
        shifted = max(p - clip, 0)
        return -(shifted**minus) * np.log(1 - shifted)

    return mean_of_pairs(lambda p, _: -((1 - p) ** plus) * np.log(p), of_negative)


def focal_of(gamma, positive, negative):
    return mean_of_pairs(
        lambda p, _: -positive * (1 - p) ** gamma * np.log(p),
        lambda p, _: -negative * p**gamma * np.log(1 - p),
    )


NUMPY = {
    "bce": ({}, mean_of_pairs(lambda p, _: -np.log(p), lambda p, _: -np.log(1 - p))),
    "weighted": (
        {},
        mean_of_pairs(lambda p, i: -WEIGHTS[i] * np.log(p), lambda p, _: -np.log(1 - p)),
    ),
    "focal": ({}, focal_of(2, 1, 1)),
    "focal with alpha": ({"focal_gamma": 1.5, "focal_alpha": 0.25}, focal_of(1.5, 0.25, 0.75)),
    "asymmetric": ({}, asymmetric_of(0, 4, 0.05)),
    "asymmetric not clipped": (
        {"asymmetric_gamma_positive": 1, "asymmetric_gamma_negative": 3, "asymmetric_clip": 0},
        asymmetric_of(1, 3, 0),
    ),
    "asymmetric with a root": (
        {"asymmetric_gamma_negative": 0.5, "asymmetric_clip": 0.2},
        asymmetric_of(0, 0.5, 0.2),
    ),
    "lovasz": ({}, mean_of_labels(lovasz_of_label)),
    "soft_f1": ({}, mean_of_labels(soft_f1_of_label)),
}
"""Name (of the loss, and what is special): the settings that are not the defaults, and logits, targets to a value."""


def _bce(z, t):
    return torch_nn.binary_cross_entropy_with_logits(z, t)


def _weighted(z, t):
    return torch_nn.binary_cross_entropy_with_logits(
        z, t, pos_weight=torch.tensor(WEIGHTS, dtype=torch.float64)
    )


def _focal(z, t):
    pairs = torch_nn.binary_cross_entropy_with_logits(z, t, reduction="none")
    return ((1 - torch.exp(-pairs)) ** 2 * pairs).mean()


def _asymmetric(z, t):
    p = torch.sigmoid(z)
    shifted = (p - 0.05).clamp(min=0)
    return -(t * torch.log(p) + (1 - t) * shifted**4 * torch.log(1 - shifted)).mean()


def _lovasz(z, t):
    """Both halves by a sort of their own, as published code does: with logits and targets turned round."""

    def half(z, t):
        errors, order = torch.sort(1 - (2 * t - 1) * z, descending=True)
        t = t[order]
        jaccard = 1 - (t.sum() - t.cumsum(0)) / (t.sum() + (1 - t).cumsum(0))
        return torch.relu(errors) @ torch.diff(jaccard, prepend=torch.zeros(1, dtype=torch.float64))

    return sum(half(z[:, i], t[:, i]) + half(-z[:, i], 1 - t[:, i]) for i in range(z.shape[1])) / (
        2 * z.shape[1]
    )


def _soft_f1(z, t):
    p = torch.sigmoid(z)
    return (1 - 2 * (p * t).sum(0) / (p + t).sum(0)).mean()


TORCH = {
    "bce": _bce,
    "weighted": _weighted,
    "focal": _focal,
    "asymmetric": _asymmetric,
    "lovasz": _lovasz,
    "soft_f1": _soft_f1,
}


def torch_value_and_gradient(name, logits, targets):
    """In float64: a float and an array like `logits`."""
    logits = torch.tensor(np.float64(logits), requires_grad=True)
    value = TORCH[name](logits, torch.tensor(np.float64(targets)))
    value.backward()
    return value.item(), logits.grad.numpy()


def differences(function, logits, targets, step=1e-6):
    """The gradient by central differences."""
    gradient = np.zeros_like(logits)
    for at in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[at], down[at] = up[at] + step, down[at] - step
        gradient[at] = (function(up, targets) - function(down, targets)) / (2 * step)
    return gradient
