"""Images with exactly one label each: the decision, the confusion matrix, and its metrics.

The decision is made here and nowhere else (a server without JAX has the same lines in
`hpa_jax/serving/decision.py`): the label with the largest score, the first of equal ones. There is
no threshold and nothing to fit.
"""

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.metrics.classification import f1_from_counts, mean_of_defined, ratio

METRICS = ("accuracy", "mean_class_accuracy", "macro_f1")
"""What `metrics_from_matrix` returns over all labels."""


def decide(scores: np.ndarray) -> np.ndarray:
    """The label of each image: that with the largest score, the first of equal ones.

    Args:
      scores: float [N, L]; probabilities or logits, whose order is the same.

    Returns:
      bool [N, L], one True a row.
    """
    decided = np.zeros(scores.shape, bool)
    decided[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return decided


def confusion_matrix(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How many images of each label were taken for each.

    Args:
      predicted: bool [N, L], one True a row.
      targets: 0/1 [N, L], one 1 a row.

    Returns:
      int64 [L, L], a row for each label that images have, a column for each that was predicted.
    """
    labels = targets.shape[1]
    pairs = targets.argmax(axis=1) * labels + predicted.argmax(axis=1)
    return np.bincount(pairs, minlength=labels**2).reshape(labels, labels)


def matrix_counts(logits: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """`confusion_matrix` of one batch on the devices. Pure; jit it.

    Counts of batches, and of shards of one, add up exactly.

    Args:
      logits: float [B, L].
      targets: 0/1 [B, L], one 1 a row where `mask` is True.
      mask: bool [B], False for rows that are not counted.

    Returns:
      int32 [L, L], as `confusion_matrix`.
    """
    labels = logits.shape[1]
    actual = jnp.argmax(targets, axis=1)
    predicted = jnp.argmax(logits, axis=1)
    counts = jnp.zeros((labels, labels), jnp.int32)
    return counts.at[actual, predicted].add(mask.astype(jnp.int32))


def metrics_from_matrix(matrix: np.ndarray) -> dict:
    """Metrics of decisions for one label each.

    `accuracy` is the fraction of the images whose label is right; `mean_class_accuracy` the mean
    over the labels that some image has of that fraction of their images (scikit-learn's
    `balanced_accuracy_score`); `macro_f1` the mean F1 over all labels, 0 for one without images
    and predictions.

    Args:
      matrix: int [L, L], from `confusion_matrix` or the sum of `matrix_counts`.

    Returns:
      METRICS, each a float in [0, 1].
    """
    matrix = np.asarray(matrix, np.int64)
    right = np.diag(matrix)
    support = matrix.sum(axis=1)
    predicted = matrix.sum(axis=0)
    recall = np.where(support > 0, ratio(right, support), np.nan)
    f1 = f1_from_counts(right, predicted - right, support - right)
    return {
        "accuracy": float(ratio(right.sum(), matrix.sum())),
        "mean_class_accuracy": float(np.nan_to_num(mean_of_defined(recall))),
        "macro_f1": float(f1.mean()),
    }
