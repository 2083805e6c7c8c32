"""Which labels an export decides on, of its probabilities. NumPy alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def decide(description: Mapping[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """Which labels each image is predicted to have.

    A label is decided where its probability is above its threshold. Where none is, the image has
    no label, or the one that comes nearest to its threshold, as the export says.

    Args:
      description: contents of model.json.
      probabilities: float32 [N, L].

    Returns:
      bool [N, L].
    """
    thresholds = thresholds_of(description)
    decided = probabilities > thresholds
    if fills_empty(description):
        empty = np.flatnonzero(~decided.any(axis=1))
        decided[empty, nearness(description, probabilities[empty]).argmax(axis=1)] = True
    return decided


def nearness(description: Mapping[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """How near each label is to being decided: probability / threshold, float64 [N, L].

    Above 1 it is decided. A threshold of 0 counts as 0 here, not as infinitely near.
    """
    thresholds = np.array(description["thresholds"], np.float64)
    positive = thresholds > 0
    divisors = np.where(positive, thresholds, 1)
    return np.where(positive, probabilities / divisors, 0)


def thresholds_of(description: Mapping[str, Any]) -> np.ndarray:
    """Float32 [L], as precise as the probabilities that they are compared with."""
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
