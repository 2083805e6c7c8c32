"""Every metric of scores of images with exactly one label each, in one dict, no model needed.

What `summary.evaluate` is for images with several labels. There are no thresholds, so that no
decision was fitted and none flatters itself.
"""

from collections.abc import Sequence

import numpy as np

from hpa_jax.metrics import crossfitting, single_label, summary, temperature
from hpa_jax.metrics.checks import check_arrays, check_single_labels, check_sums

ARGMAX = "argmax"
"""What `decision` says in a report of this kind; one of `summary.evaluate` has no such key."""

# Of the metrics of several labels, by the names that they have here.
_OVER_ALL = {
    "micro_f1": "accuracy",
    "macro_f1": "macro_f1",
    "macro_average_precision": "macro_average_precision",
    "macro_auc": "macro_auc",
    "calibration_error": "calibration_error",
}


def evaluate(
    scores: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    label_ids: Sequence[int] | None = None,
    label_names: Sequence[str] | None = None,
    source: np.ndarray | None = None,
    source_names: Sequence[str] = (),
    folds: int = 5,
    seed: int = 0,
    replicates: int = 1000,
    level: float = 0.95,
) -> dict:
    """Every metric, as plain values that go into JSON as they are; an undefined one is None.

    Args:
      scores: float [N, L] in [0, 1], each row sums to 1.
      targets: 0/1 [N, L], one 1 a row.
      groups, label_ids, label_names, source, source_names, seed, replicates, level: as of
        `summary.evaluate`.
      folds: of the temperature, as of `summary.evaluate`.

    Returns:
      A dict with these keys:
      - `decision`: "argmax".
      - `images`, `labels`, `groups`: their numbers.
      - `accuracy`, `mean_class_accuracy`, `macro_f1`: as `single_label.metrics_from_matrix`.
      - `macro_average_precision`, `macro_auc`, `calibration_error`: each label against all others.
      - `temperature`: fitted on all images, and `calibration_error_tempered`: of scores each at the
        temperature that was fitted without its fold (`temperature.py`).
      - `log_loss`: mean of -log of the score of an image's label, in nats; scores below the
        smallest step of their type count as that step.
      - `confusion`: [L][L], images by the label that they have (row) and the predicted one.
      - `folds`, `seed`, `replicates`, `level`: as used.
      - `intervals`: [low, high] by metric.
      - `per_label`: a dict for each label: `id`, `name`, `support`, `predicted`, its metrics.
      - `per_source`: with sources, a dict for each: `name`, `images`, its metrics, `intervals`.

    Raises:
      InputError: arrays that are not what they must be, or a setting out of range.
    """
    scores = np.asarray(scores)
    targets = np.asarray(targets)
    check_arrays(scores, targets)
    check_single_labels(targets)
    check_sums(scores)
    summary.check_folds(folds)
    summary.check_bootstrap(replicates, level)
    images, labels = scores.shape
    groups = summary.checked_column(groups, images, "groups")
    source = summary.checked_column(source, images, "sources")
    summary.check_sources(source, source_names)
    ids, names = summary.label_columns(labels, label_ids, label_names)

    predicted = single_label.decide(scores)
    matrix = single_label.confusion_matrix(predicted, targets)
    draws = {"replicates": replicates, "level": level, "seed": seed}
    over_all, by_label = _metrics(scores, targets, predicted, groups, draws)
    units = images if groups is None else len(np.unique(groups))
    folds = min(folds, units)
    fold = crossfitting.assign_folds(images, folds, seed, groups)
    rows = summary.label_rows(ids, names, matrix.sum(axis=1), by_label)
    for row, count in zip(rows, matrix.sum(axis=0).tolist(), strict=True):
        row["predicted"] = count
    report = {
        "decision": ARGMAX,
        "images": images,
        "labels": labels,
        "groups": units,
        **over_all,
        "temperature": temperature.fit_temperature(scores, targets, single_label=True),
        "calibration_error_tempered": summary.tempered_error(
            scores, targets, fold, single_label=True
        ),
        "confusion": matrix.tolist(),
        "folds": folds,
        **draws,
        "per_label": rows,
    }
    if source is not None:
        per_source = []
        for number, name in enumerate(source_names):
            chosen = source == number
            row = {"name": name, "images": int(chosen.sum())}
            if chosen.any():
                of_source = None if groups is None else groups[chosen]
                arrays = (scores[chosen], targets[chosen], predicted[chosen])
                row |= _metrics(*arrays, of_source, draws)[0]
            per_source.append(row)
        report["per_source"] = per_source
    return report


def _metrics(
    scores: np.ndarray,
    targets: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray | None,
    draws: dict,
) -> tuple[dict, dict]:
    """Metrics over all labels, their `intervals` among them, and arrays [L, ...] by label."""
    decisions = {"": predicted}
    found, by_label = summary.point_metrics(scores, targets, decisions)
    found_intervals, intervals_by_label = summary.interval_metrics(
        scores, targets, decisions, groups, draws
    )
    over_all = {name: found[known] for known, name in _OVER_ALL.items()}
    intervals = {}
    for known, name in _OVER_ALL.items():
        if known in found_intervals:
            intervals[name] = found_intervals[known]
    # As one label of an image excludes all others, the mean over the labels that occur of the
    # fraction of their images that were found is macro recall, on another scale.
    present = np.count_nonzero(targets, axis=0) > 0
    scale = len(present) / np.count_nonzero(present)
    over_all["mean_class_accuracy"] = found["macro_recall"] * scale
    if "macro_recall" in found_intervals:
        ends = found_intervals["macro_recall"]
        intervals["mean_class_accuracy"] = [end * scale for end in ends]
    over_all["log_loss"] = _log_loss(scores, targets)
    over_all["intervals"] = intervals
    return over_all, by_label | intervals_by_label


def _log_loss(scores: np.ndarray, targets: np.ndarray) -> float:
    of_label = scores[np.arange(len(scores)), targets.argmax(axis=1)]
    smallest = np.finfo(scores.dtype).eps
    return float(-np.log(np.maximum(of_label, smallest), dtype=np.float64).mean())
