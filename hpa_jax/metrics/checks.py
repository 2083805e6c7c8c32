"""What score arrays must be: nothing is guessed.

Scores outside [0, 1] are refused, not squashed, and targets other than 0 and 1 are refused, not
rounded: a logit taken for a probability would move every metric without a word."""

import numpy as np

from hpa_jax.errors import InputError


def check_arrays(
    scores: np.ndarray, targets: np.ndarray, scores_name="scores", targets_name="targets"
) -> None:
    """Refuses arrays that are not scores in [0, 1] and 0/1 targets of the same images and labels.

    Args:
      scores: an array that should be float [N, L].
      targets: an array that should be 0/1 [N, L].
      scores_name: what messages call the scores, a path for instance.
      targets_name: what messages call the targets.

    Raises:
      InputError: names the array and what is wrong with it.
    """
    _check_shape(scores, scores_name, "scores")
    _check_shape(targets, targets_name, "targets")
    if scores.shape != targets.shape:
        hint = "give the targets of the same images"
        if scores.shape == targets.shape[::-1]:
            hint = "transpose one of them"
        raise InputError(
            f"{scores_name} has shape {scores.shape} and {targets_name} has shape {targets.shape}: "
            f"scores and targets must match, {hint}"
        )
    _check_scores(scores, scores_name)
    _check_targets(targets, targets_name)


def _check_shape(array: np.ndarray, name, what: str) -> None:
    if array.ndim != 2:
        raise InputError(f"{name}: the {what} have shape {array.shape}, expected [images, labels]")
    for size, axis in zip(array.shape, ("images", "labels"), strict=True):
        if size == 0:
            raise InputError(
                f"{name}: the {what} have shape {array.shape}, no {axis}: nothing to evaluate"
            )


def _check_scores(scores: np.ndarray, name) -> None:
    if scores.dtype.kind != "f":
        raise InputError(
            f"{name}: scores of type {scores.dtype}, expected floats in [0, 1]; "
            "are scores and targets swapped?"
        )
    finite = np.isfinite(scores)
    if not finite.all():
        row, label = _first(~finite)
        raise InputError(
            f"{name}: row {row}, label {label} is {scores[row, label]}: "
            "every score must be a number"
        )
    if scores.min() < 0 or scores.max() > 1:
        raise InputError(
            f"{name}: scores run from {scores.min():.6g} to {scores.max():.6g}, expected [0, 1]; "
            "these look like logits: apply a sigmoid first"
        )


def _check_targets(targets: np.ndarray, name) -> None:
    if targets.dtype.kind not in "buif":
        raise InputError(f"{name}: targets of type {targets.dtype}, expected 0 and 1")
    wrong = (targets != 0) & (targets != 1)
    if wrong.any():
        row, label = _first(wrong)
        raise InputError(
            f"{name}: row {row}, label {label} is {targets[row, label]}: "
            "every target must be 0 or 1"
        )


def _first(wrong: np.ndarray) -> tuple[int, int]:
    """Row and column of the first true value."""
    row, label = np.unravel_index(np.argmax(wrong), wrong.shape)
    return int(row), int(label)


def check_single_labels(targets: np.ndarray, names=None, what: str = "targets") -> None:
    """Refuses targets of images that have no label, or several, where each must have one.

    Args:
      targets: 0/1 [N, L].
      names: of the N images, for the message; None: their numbers.
      what: what the message calls the images.

    Raises:
      InputError: how many images, and which is the first.
    """
    counts = np.count_nonzero(targets, axis=1)
    wrong = np.flatnonzero(counts != 1)
    if not len(wrong):
        return
    first = wrong[0]
    name = f"row {first}" if names is None else names[first]
    raise InputError(
        f"{what}: every image must have exactly one label, and {len(wrong)} of {len(targets)} have "
        f"none or several, the first of them {name} with {counts[first]}; "
        "a loss for several labels, and thresholds, take such images (config.train.loss=bce)"
    )


def check_sums(scores: np.ndarray, name="scores") -> None:
    """Refuses scores, float [N, L], that are no probabilities of labels that exclude each other.

    Raises:
      InputError: the first row that does not sum to 1.
    """
    sums = scores.sum(axis=1, dtype=np.float64)
    # Of 256 labels in float16 the sum is off by 1e-3 at most.
    wrong = np.flatnonzero(np.abs(sums - 1) > _SUM_TOLERANCE)
    if len(wrong):
        raise InputError(
            f"{name}: row {wrong[0]} sums to {sums[wrong[0]]:.6g}, expected 1: where every image "
            "has one label its scores are probabilities that share it; apply a softmax first"
        )


_SUM_TOLERANCE = 2e-3
