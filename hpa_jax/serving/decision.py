"""Which labels an export decides on, of its probabilities. NumPy alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

ARGMAX = "argmax"
"""`decision` in model.json of a net of images with one label each."""

THRESHOLDS = "thresholds"
"""The same of images with several labels; older exports do not say it."""

NONE = "none"
"""The same of a net that has learnt embeddings: it has no labels, and nothing is decided."""


def decide(description: Mapping[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """Which labels each image is predicted to have.

    A label is decided where its probability is above its threshold. Where none is, the image has
    no label, or the one that comes nearest to its threshold, as the export says. A net of images
    with one label each decides for the most probable, the first of equal ones, without thresholds.

    Args:
      description: contents of model.json.
      probabilities: float32 [N, L].

    Returns:
      bool [N, L].
    """
    if is_single_label(description):
        decided = np.zeros(probabilities.shape, bool)
        decided[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
        return decided
    decided = probabilities > thresholds_of(description)
    if fills_empty(description):
        empty = np.flatnonzero(~decided.any(axis=1))
        decided[empty, nearness(description, probabilities[empty]).argmax(axis=1)] = True
    return decided


def nearness(description: Mapping[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """How near each label is to being decided: probability / threshold, float64 [N, L].

    Above 1 it is decided. A threshold of 0 counts as 0 here, not as infinitely near. Without
    thresholds it is the probability.
    """
    if is_single_label(description):
        return np.asarray(probabilities, np.float64)
    thresholds = np.array(description["thresholds"], np.float64)
    positive = thresholds > 0
    divisors = np.where(positive, thresholds, 1)
    return np.where(positive, probabilities / divisors, 0)


def is_single_label(description: Mapping[str, Any]) -> bool:
    """Whether each image has exactly one label, the most probable one."""
    return description.get("decision") == ARGMAX


def thresholds_of(description: Mapping[str, Any]) -> np.ndarray:
    """Float32 [L], as precise as the probabilities that they are compared with.

    An export of images with one label each has none: ask `is_single_label` first.
    """
    return np.array(description["thresholds"], np.float32)


def fills_empty(description: Mapping[str, Any]) -> bool:
    """Whether an image above no threshold gets the label that comes nearest."""
    return str(description.get("empty", "no label")) != "no label"


def label_names(description: Mapping[str, Any]) -> list[str]:
    """The names of the L labels, in the order of the probabilities."""
    return [str(label["name"]) for label in description["labels"]]


def label_ids(description: Mapping[str, Any]) -> list[int]:
    """The ids of the L labels, in the order of the probabilities."""
    return [int(label["id"]) for label in description["labels"]]
