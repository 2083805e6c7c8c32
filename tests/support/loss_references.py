"""Reference implementations of the losses: plain NumPy from the papers' formulas, and PyTorch.

NumPy works in float64, pair by pair or label by label, with the Lovasz extension by brute force
over all orders of a few images; PyTorch takes complete batches and returns gradients too.
"""

import itertools
from functools import cache

import numpy as np
import torch
import torch.nn.functional as torch_nn

WEIGHTS = np.array([0.5, 1, 3, 40, 2], np.float32)
"""Of positives, for `weighted`: five labels."""

MARGINS = np.array([0.5, 0.1, 0.3, 0.05, 0.2], np.float32)
LABEL_WEIGHTS = np.array([3, 0.2, 1, 0.5, 0.3], np.float32)
"""For `ldam`."""


def logistic(z):
    return 1 / (1 + np.exp(-z))


def mean_of_pairs(of_positive, of_negative):
    def loss(logits, targets):
        pairs = []
        for row, label in np.ndindex(logits.shape):
            term = of_positive if targets[row, label] else of_negative
            pairs.append(term(logistic(logits[row, label]), label))
        return np.mean(pairs)

    return loss


def mean_of_labels(of_column):
    def loss(logits, targets):
        columns = zip(logits.T, targets.T, strict=True)
        return np.mean([of_column(z, t) for z, t in columns])

    return loss


def jaccard_loss(wrong, positives):
    """Jaccard loss of the prediction that is wrong for the set `wrong`."""
    predicted = positives ^ wrong
    union = positives | predicted
    return 1 - len(positives & predicted) / len(union) if union else 0.0


@cache
def increments(images, positives):
    """How much the loss grows with each further wrong image, for every order of the images."""
    orders = list(itertools.permutations(range(images)))
    levels = []
    for order in orders:
        prefixes = [frozenset(order[:k]) for k in range(images + 1)]
        levels.append([jaccard_loss(prefix, positives) for prefix in prefixes])
    return np.array(orders), np.diff(levels)


def lovasz_extension(errors, positives):
    """At errors of 0 or more: the largest value over all orders of the images (Edmonds 1970)."""
    orders, growth = increments(len(errors), positives)
    return np.max(np.sum(errors[orders] * growth, axis=1))


def lovasz_of_label(logits, targets):
    errors = np.maximum(1 - (2.0 * targets - 1) * logits, 0)
    halves = []
    for side in (1, 0):
        positives = frozenset(np.flatnonzero(targets == side).tolist())
        halves.append(lovasz_extension(errors, positives))
    return np.mean(halves)


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


def ldam_of(scale):
    def loss(logits, targets):
        lowered = scale * (logits - MARGINS * targets)
        of_truth = np.where(targets, logistic(lowered), logistic(-lowered))
        return np.mean(-LABEL_WEIGHTS * np.log(of_truth))

    return loss


NUMPY = {
    "bce": ({}, mean_of_pairs(lambda p, _: -np.log(p), lambda p, _: -np.log(1 - p))),
    "weighted": (
        {},
        mean_of_pairs(lambda p, i: -WEIGHTS[i] * np.log(p), lambda p, _: -np.log(1 - p)),
    ),
    "focal": ({}, focal_of(2, 1, 1)),
    "focal with alpha": ({"gamma": 1.5, "alpha": 0.25}, focal_of(1.5, 0.25, 0.75)),
    "asymmetric": ({}, asymmetric_of(0, 4, 0.05)),
    "asymmetric not clipped": (
        {"gamma_positive": 1, "gamma_negative": 3, "clip": 0},
        asymmetric_of(1, 3, 0),
    ),
    "asymmetric with a root": (
        {"gamma_negative": 0.5, "clip": 0.2},
        asymmetric_of(0, 0.5, 0.2),
    ),
    "ldam": ({}, ldam_of(1)),
    "ldam with a scale": ({"scale": 2.5}, ldam_of(2.5)),
    "lovasz": ({}, mean_of_labels(lovasz_of_label)),
    "soft_f1": ({}, mean_of_labels(soft_f1_of_label)),
}
"""By name (of the loss, and what is special): options that differ from the defaults, and a function
of logits and targets to the value."""


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


def _ldam(z, t):
    """The logit of the truth lowered, where there is a truth."""
    margins = torch.tensor(MARGINS, dtype=torch.float64)
    lowered = torch.where(t > 0, z - margins, z)
    return torch_nn.binary_cross_entropy_with_logits(
        lowered, t, weight=torch.tensor(LABEL_WEIGHTS, dtype=torch.float64)
    )


def _lovasz(z, t):
    """Sorts for each half, as published code does, with logits and targets reversed."""

    def half(z, t):
        errors, order = torch.sort(1 - (2 * t - 1) * z, descending=True)
        t = t[order]
        jaccard = 1 - (t.sum() - t.cumsum(0)) / (t.sum() + (1 - t).cumsum(0))
        return torch.relu(errors) @ torch.diff(jaccard, prepend=torch.zeros(1, dtype=torch.float64))

    labels = z.shape[1]
    total = sum(half(z[:, i], t[:, i]) + half(-z[:, i], 1 - t[:, i]) for i in range(labels))
    return total / (2 * labels)


def _soft_f1(z, t):
    p = torch.sigmoid(z)
    return (1 - 2 * (p * t).sum(0) / (p + t).sum(0)).mean()


TORCH = {
    "bce": _bce,
    "weighted": _weighted,
    "focal": _focal,
    "asymmetric": _asymmetric,
    "ldam": _ldam,
    "lovasz": _lovasz,
    "soft_f1": _soft_f1,
}


def torch_value_and_gradient(name, logits, targets):
    """Value (a float) and gradient (an array like `logits`), in float64."""
    logits = torch.tensor(np.float64(logits), requires_grad=True)
    value = TORCH[name](logits, torch.tensor(np.float64(targets)))
    value.backward()
    return value.item(), logits.grad.numpy()


def differences(function, logits, targets, step=1e-6):
    """The gradient by central differences."""
    gradient = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        up = logits.copy()
        up[place] += step
        down = logits.copy()
        down[place] -= step
        gradient[place] = (function(up, targets) - function(down, targets)) / (2 * step)
    return gradient
