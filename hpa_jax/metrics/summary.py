"""Every metric of a score array in one dict, no model needed: check, count, cross-fit, bootstrap.

Metrics at threshold 0.5, per label too; the same with thresholds cross-fitted over seeded folds
(`*_crossfit`, the honest estimate); and with thresholds fitted on all images and scored on the same
ones (`*_in_sample`, the optimistic one). How well the scores rank and whether they are calibrated;
how sure each metric is; the metrics of each source.

To add a metric:
1. Write it as a pure function with its source: of decisions in `classification.py`, of the order of
   the scores in `ranking.py`, of their values in `calibration.py`. A function that returns a dict
   (`metrics_from_confusion`, `ranking_metrics`) only needs one more entry.
2. `point_metrics` below collects what those functions return; a new function is called there.
3. For its interval and its paired test, compute it from weighted sums in `weighted._block_metrics`,
   under the same name. `tests/metrics/test_bootstrap.py` compares the two for every name.
4. For training's log and `config.checkpoint.metric` it must follow from counts that the device adds
   up: compute it in `classification.metrics_from_counts` and name it in `classification.METRICS`.
"""

from collections.abc import Sequence

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from hpa_jax.metrics import (
    bootstrap,
    calibration,
    classification,
    crossfitting,
    ranking,
    temperature,
)
from hpa_jax.metrics.checks import check_arrays


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
    few_positives: int = 5,
    fill_empty: bool = False,
    replicates: int = 1000,
    level: float = 0.95,
    mesh=None,
) -> dict:
    """Every metric of a score array, as plain values that go into JSON as they are.

    An undefined metric is None.

    Args:
      scores: float [N, L] in [0, 1], probability of each label; any float type.
      targets: 0/1 [N, L], integers, floats or bool.
      groups: int [N]. Images of one group (near-duplicates, one specimen) are assigned to folds and
        drawn by the bootstrap together; None: every image is independent of the others.
      label_ids: the label id of each column; None: its position.
      label_names: the name of each column. None: those of the 28 labels of 2018 where `label_ids`
        has their ids, or where there are 28 columns and no `label_ids`; otherwise `label_0`,
        `label_1`, ...
      source: int [N], positions in `source_names`; None: no table of sources.
      source_names: the datasets that the images are from.
      folds: of the cross-fit. With fewer images (or groups) than folds each is a fold, and `note`
        says so.
      seed: of the folds and of the bootstrap.
      few_positives: below so many positives a label's threshold is shrunk toward what the other
        labels' suggest (`thresholds.fit`).
      fill_empty: an image above no threshold gets the label that comes nearest to its own
        (`thresholds.decide`).
      replicates: of the bootstrap; 0: no intervals.
      level: of the intervals, 0 to 1.
      mesh: a mesh over whose axis `data` the rows are sharded; None counts on the default device.

    Returns:
      A dict with these keys:
      - `images`, `labels`, `groups`: their numbers; `threshold`: 0.5.
      - `macro_f1`, `micro_f1`, `macro_precision`, `macro_recall`, `micro_precision`,
        `micro_recall`, `accuracy`, `macro_f1_present`, `samples_f1`: at 0.5, and with `_crossfit`
        behind the name with cross-fitted thresholds.
      - `macro_average_precision`, `micro_average_precision`, `macro_auc`, `micro_auc`,
        `calibration_error`: macro over the labels for which they are defined.
      - `temperature`: fitted on all images, and `calibration_error_tempered`: of scores each at the
        temperature that was fitted without its fold (`temperature.py`).
      - `macro_f1_crossfit_own`: as `macro_f1_crossfit`, every label fitted on its own.
      - `macro_f1_in_sample`, `micro_f1_in_sample`: fitted and scored on all images, every label on
        its own.
      - `folds`, `seed`, `few_positives`, `fill_empty`, `replicates`, `level`: as used.
      - `thresholds`: one a label, fitted on all images, to decide other images with.
      - `thresholds_in_sample`: the same, every label fitted on its own.
      - `borrowed`: ids of the labels whose thresholds were shrunk.
      - `intervals`: [low, high] by metric.
      - `per_label`: a dict for each label: `id`, `name`, `support`, its metrics, `threshold`.
      - `per_source`: with sources, a dict for each: `name`, `images`, its metrics, `intervals`.
      - `note`: where the cross-fit is not what was asked for.

    Raises:
      InputError: scores that are not finite floats in [0, 1], targets other than 0 and 1, shapes
        that do not match, or a setting out of range.
    """
    scores = np.asarray(scores)
    targets = np.asarray(targets)
    check_arrays(scores, targets)
    images, labels = scores.shape
    _check_settings(folds, few_positives, replicates, level)
    groups = checked_column(groups, images, "groups")
    source = checked_column(source, images, "sources")
    check_sources(source, source_names)

    crossfit_settings = {
        "few_positives": few_positives,
        "fill_empty": fill_empty,
        "groups": groups,
        "mesh": mesh,
    }
    fitted = crossfitting.crossfit(scores, targets, folds=folds, seed=seed, **crossfit_settings)
    alone = fitted["alone"]
    decisions = {"": scores > scores.dtype.type(0.5), "_crossfit": fitted["decisions"]}
    over_all, by_label = point_metrics(scores, targets, decisions)
    draws = {"replicates": replicates, "level": level, "seed": seed}
    intervals, intervals_by_label = interval_metrics(scores, targets, decisions, groups, draws)

    ids, names = label_columns(labels, label_ids, label_names)
    support = np.count_nonzero(targets, axis=0)
    units = images
    if groups is not None:
        units = len(np.unique(groups))
    columns = by_label | {"threshold": fitted["thresholds"]} | intervals_by_label
    report = {
        "images": images,
        "labels": labels,
        "groups": units,
        "threshold": 0.5,
        **over_all,
        "temperature": temperature.fit_temperature(scores, targets),
        "calibration_error_tempered": tempered_error(scores, targets, fitted["fold"]),
        "macro_f1_crossfit_own": alone["crossfit"]["macro_f1"],
        "macro_f1_in_sample": alone["in_sample"]["macro_f1"],
        "micro_f1_in_sample": alone["in_sample"]["micro_f1"],
        "folds": fitted["folds"],
        "seed": seed,
        "few_positives": few_positives,
        "fill_empty": fill_empty,
        "replicates": replicates,
        "level": level,
        "thresholds": fitted["thresholds"].tolist(),
        "thresholds_in_sample": alone["thresholds"].tolist(),
        "borrowed": [ids[i] for i in range(labels) if support[i] < few_positives],
        "intervals": intervals,
        "per_label": label_rows(ids, names, support, columns),
    }
    if source is not None:
        rows = []
        for number, name in enumerate(source_names):
            of_source = source == number
            found = _source_metrics(of_source, scores, targets, decisions, groups, draws)
            rows.append({"name": name} | found)
        report["per_source"] = rows
    note = _note(units, folds, grouped=groups is not None)
    if note:
        report["note"] = note
    return report


def label_columns(
    labels: int, label_ids: Sequence[int] | None, label_names: Sequence[str] | None
) -> tuple[list[int], list[str]]:
    """Ids and names of the columns, as `evaluate` takes them.

    Raises:
      InputError: there are not as many as `labels`.
    """
    ids = list(range(labels))
    if label_ids is not None:
        ids = _checked_names(label_ids, labels, "label_ids")
    names = _checked_names(label_names or _names(ids, label_ids), labels, "label_names")
    return ids, names


def tempered_error(
    scores: np.ndarray, targets: np.ndarray, fold: np.ndarray, *, single_label: bool = False
) -> float:
    """The calibration error of scores each at the temperature fitted without its fold."""
    tempered = temperature.crossfit_temperature(scores, targets, fold, single_label=single_label)
    reliability = calibration.reliability(tempered, targets)
    return float(calibration.calibration_error(reliability.pooled()))


def _names(ids: Sequence[int], label_ids: Sequence[int] | None) -> list[str]:
    """The names of columns without names: those of the 28 labels where they can be these."""
    known = len(LABELS)
    if (label_ids is None and len(ids) != known) or max(ids) >= known:
        return [f"label_{i}" for i in ids]
    return [LABELS[i] for i in ids]


def _checked_names(values: Sequence, labels: int, what: str) -> list:
    if len(values) != labels:
        raise InputError(f"{len(values)} {what} for scores of {labels} labels; give one for each")
    return list(values)


def label_rows(
    ids: Sequence[int], names: list[str], support: np.ndarray, columns: dict[str, np.ndarray]
) -> list[dict]:
    rows = []
    for position, (label_id, name) in enumerate(zip(ids, names, strict=True)):
        row = {"id": label_id, "name": name, "support": int(support[position])}
        for metric, values in columns.items():
            row[metric] = bootstrap.json_value(values[position])
        rows.append(row)
    return rows


def _note(units: int, folds: int, *, grouped: bool) -> str:
    """What the cross-fit could not do as asked, or ''; `units` are groups if `grouped`."""
    unit = "group" if grouped else "image"
    if units == 1:
        return (
            f"one {unit} cannot be cross-fitted: the *_crossfit metrics are those at threshold 0.5"
        )
    if units < folds:
        return f"cross-fitted over {units} folds, not {folds}: there are only {units} {unit}s"
    return ""


def point_metrics(
    scores: np.ndarray, targets: np.ndarray, decisions: dict[str, np.ndarray]
) -> tuple[dict, dict]:
    """The metrics without intervals: plain values over all labels, and arrays [L] by label."""
    positive = targets != 0
    over_all = {}
    by_label = {}
    for suffix, predicted in decisions.items():
        confusion = classification.confusion_from_decisions(predicted, positive)
        metrics = classification.metrics_from_confusion(confusion)
        metrics["samples_f1"] = classification.mean_image_f1(predicted, positive)
        own = metrics.pop("per_label")
        for name, value in metrics.items():
            over_all[f"{name}{suffix}"] = value
        for name in ("precision", "recall", "f1"):
            by_label[f"{name}{suffix}"] = own[name]

    ranked = ranking.ranking_metrics(scores, targets)
    by_label |= ranked.pop("per_label")
    for name, value in ranked.items():
        over_all[name] = bootstrap.json_value(value)

    reliability = calibration.reliability(scores, targets)
    by_label["calibration_error"] = calibration.calibration_error(reliability)
    over_all["calibration_error"] = float(calibration.calibration_error(reliability.pooled()))
    return over_all, by_label


def interval_metrics(
    scores: np.ndarray,
    targets: np.ndarray,
    decisions: dict[str, np.ndarray],
    groups: np.ndarray | None,
    draws: dict,
) -> tuple[dict, dict]:
    """[low, high] by metric; and arrays [L, 2] by `METRIC_interval`. Empty without replicates."""
    if not draws["replicates"]:
        return {}, {}
    over_all, by_label = bootstrap.bootstrap_intervals(
        targets, decisions=decisions, scores=scores, groups=groups, **draws
    )
    intervals = {name: bootstrap.json_value(ends) for name, ends in over_all.items()}
    return intervals, {f"{name}_interval": ends for name, ends in by_label.items()}


def _source_metrics(
    rows: np.ndarray,
    scores: np.ndarray,
    targets: np.ndarray,
    decisions: dict[str, np.ndarray],
    groups: np.ndarray | None,
    draws: dict,
) -> dict:
    """Metrics of the images `rows` (bool [N]), with the decisions of the cross-fit over all."""
    if not rows.any():
        return {"images": 0}
    scores = scores[rows]
    targets = targets[rows]
    decisions = {suffix: predicted[rows] for suffix, predicted in decisions.items()}
    if groups is not None:
        groups = groups[rows]
    over_all, _ = point_metrics(scores, targets, decisions)
    intervals, _ = interval_metrics(scores, targets, decisions, groups, draws)
    return {"images": int(rows.sum()), **over_all, "intervals": intervals}


def _check_settings(folds: int, few_positives: int, replicates: int, level: float) -> None:
    check_folds(folds)
    if few_positives < 0:
        raise InputError(f"few_positives = {few_positives}: must be 0 or more")
    check_bootstrap(replicates, level)


def check_folds(folds: int) -> None:
    """Raises InputError where there are too few."""
    if folds < 2:
        raise InputError(f"cross-fitting over {folds} folds: must be at least 2")


def check_bootstrap(replicates: int, level: float) -> None:
    """Raises InputError with the setting of the bootstrap that is out of range."""
    if replicates < 0:
        raise InputError(
            f"{replicates} replicates of the bootstrap: must be 0 (no intervals) or more"
        )
    if not 0 < level < 1:
        raise InputError(f"intervals of level {level}: must be above 0 and below 1")


def checked_column(values, images: int, what: str) -> np.ndarray | None:
    """`values` as an array of one number an image, or None where it is None."""
    if values is None:
        return None
    values = np.asarray(values)
    if values.shape != (images,):
        raise InputError(
            f"{what} of shape {values.shape} for {images} images: give one number an image"
        )
    return values


def check_sources(source: np.ndarray | None, source_names: Sequence[str]) -> None:
    if source is None:
        return
    if not ((source >= 0) & (source < len(source_names))).all():
        raise InputError(
            f"sources run from {source.min()} to {source.max()}, but {len(source_names)} have names"
        )
