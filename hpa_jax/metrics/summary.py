"""Anyone's score array through the same evaluator, no model needed: load, check, evaluate, print, write.

The figures at 0.5, per label too; the same with thresholds cross-fitted over seeded folds (`*_crossfit`, the honest
figure); and with thresholds fitted on all fields and scored on the same ones (`*_in_sample`, the optimistic one). How
well the scores rank and whether they come true; how sure each figure is; each source's own figures.

Unusual here: nothing is guessed. Scores outside [0, 1] are refused, not squashed, and targets other than 0 and 1 are
refused, not rounded: a logit taken for a probability would move every figure without a word.
"""

from collections.abc import Sequence

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from hpa_jax.metrics import bootstrap, calibration, classification, ranking, thresholds


def check(
    scores: np.ndarray, targets: np.ndarray, scores_name="scores", targets_name="targets"
) -> None:
    """Refuses arrays that are no scores in [0, 1] and 0/1 targets of the same fields and labels."""
    for array, name, what in ((scores, scores_name, "scores"), (targets, targets_name, "targets")):
        _check_shape(array, name, what)
    if scores.shape != targets.shape:
        hint = (
            "transpose one of them"
            if scores.shape == targets.shape[::-1]
            else "give the targets of the same fields"
        )
        raise InputError(
            f"{scores_name} has shape {scores.shape} and {targets_name} has shape {targets.shape}: "
            f"scores and targets must match, {hint}"
        )
    _check_scores(scores, scores_name)
    _check_targets(targets, targets_name)


def _check_shape(array: np.ndarray, path, what: str) -> None:
    if array.ndim != 2:
        raise InputError(f"{path}: the {what} have shape {array.shape}, wanted [fields, labels]")
    for size, axis in zip(array.shape, ("fields", "labels"), strict=True):
        if size == 0:
            raise InputError(
                f"{path}: the {what} have shape {array.shape}, no {axis}: nothing to evaluate"
            )


def _place(wrong: np.ndarray) -> tuple[int, int]:
    row, label = np.unravel_index(np.argmax(wrong), wrong.shape)
    return int(row), int(label)


def _check_scores(scores: np.ndarray, path) -> None:
    if scores.dtype.kind != "f":
        raise InputError(
            f"{path}: scores of type {scores.dtype}, wanted floats in [0, 1]; are scores and targets swapped?"
        )
    if not (finite := np.isfinite(scores)).all():
        row, label = _place(~finite)
        raise InputError(
            f"{path}: row {row}, label {label} is {scores[row, label]}: every score must be a number"
        )
    if scores.min() < 0 or scores.max() > 1:
        raise InputError(
            f"{path}: scores run from {scores.min():.6g} to {scores.max():.6g}, wanted [0, 1]; "
            "these look like logits: apply a sigmoid first"
        )


def _check_targets(targets: np.ndarray, path) -> None:
    if targets.dtype.kind not in "buif":
        raise InputError(f"{path}: targets of type {targets.dtype}, wanted 0 and 1")
    if (wrong := (targets != 0) & (targets != 1)).any():
        row, label = _place(wrong)
        raise InputError(
            f"{path}: row {row}, label {label} is {targets[row, label]}: every target must be 0 or 1"
        )


def evaluate_scores(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    label_ids: Sequence[int] | None = None,
    groups: np.ndarray | None = None,
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
    """Every figure of a score array, as plain Python values that go into JSON as they are: None where undefined.

    Args:
      scores: float [N, L] in [0, 1]; targets: 0/1 [N, L]; both as `load_scores` returns them.
      label_ids: which of the 28 labels each column is; None takes 28 columns for all of them, and others as nameless.
      groups: int [N], fields of one specimen: dealt into folds and drawn by the bootstrap together; None: no groups.
      source: int [N], positions in `source_names`; None: no table of sources.
      folds, seed: of the cross-fit (and seed of the bootstrap). With fewer fields than folds each field is a fold, and
        `note` says so.
      few_positives, fill_empty: of the cross-fit, see `thresholds.fit` and `thresholds.decide`.
      replicates, level: of the bootstrap's intervals; 0 replicates: no intervals.
      mesh: its axis `data` shares the rows; None counts on the default device.

    Returns:
      fields, labels, groups, threshold; the figures of `metrics.ratios` and samples_f1 at 0.5, and cross-fitted with
      `_crossfit` behind the name; macro_f1_crossfit_own, for which every label stands alone; macro_f1_in_sample and
      micro_f1_in_sample (every label alone, too); macro_ and micro_average_precision, macro_ and micro_auc (labels for
      which they are undefined count nowhere), calibration_error; folds, seed, few_positives, fill_empty, replicates,
      level; thresholds (of all fields, one a label, to decide other fields with), thresholds_in_sample (every label
      alone), borrowed (ids of the labels that do not stand alone); intervals ([low, high] by figure); per_label (one
      dict a label, its threshold that of `thresholds`) and, with sources, per_source (one dict a source, all figures
      and their intervals); note, if there is something to say.

    Raises:
      InputError: what `check` refuses; groups or source of another length; a setting out of range.
    """
    check(scores, targets)
    _check_settings(
        len(scores), groups, source, source_names, folds, few_positives, replicates, level
    )
    settings = {
        "few_positives": few_positives,
        "fill_empty": fill_empty,
        "groups": groups,
        "mesh": mesh,
    }
    fitted = thresholds.crossfit(scores, targets, folds=folds, seed=seed, **settings)
    alone = fitted["alone"]
    decisions = {"": scores > scores.dtype.type(0.5), "_crossfit": fitted["decisions"]}
    draw = {"replicates": replicates, "level": level, "seed": seed}
    over_all, by_label, intervals, of_label = _figures(scores, targets, decisions, groups, draw)
    fields, labels = scores.shape
    units = fields if groups is None else len(np.unique(groups))
    ids = range(labels) if label_ids is None else label_ids
    names = (
        LABELS if label_ids is not None or labels == len(LABELS) else [f"label_{i}" for i in ids]
    )
    support = np.count_nonzero(targets, axis=0)
    columns = {**by_label, "threshold": fitted["thresholds"], **of_label}
    report = {
        "fields": fields,
        "labels": labels,
        "groups": units,
        "threshold": 0.5,
        **over_all,
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
        "per_label": [
            {"id": ids[i], "name": names[ids[i]], "support": int(support[i])}
            | {name: bootstrap.plain(column[i]) for name, column in columns.items()}
            for i in range(labels)
        ],
    }
    if source is not None:
        report["per_source"] = [
            {"name": name} | _of_source(source == i, scores, targets, decisions, groups, draw)
            for i, name in enumerate(source_names)
        ]
    if units == 1:
        what = "field" if fields == 1 else "group"
        report["note"] = (
            f"one {what} cannot be cross-fitted: the *_crossfit figures are those at threshold 0.5"
        )
    elif units < folds:
        what = "fields" if groups is None else "groups"
        report["note"] = (
            f"cross-fitted over {units} folds, not {folds}: there are only {units} {what}"
        )
    return report


def _check_settings(
    fields: int, groups, source, source_names, folds, few_positives, replicates, level
) -> None:
    rules = (
        (folds >= 2, f"cross-fitting over {folds} folds: wanted at least 2"),
        (few_positives >= 0, f"few_positives = {few_positives}: wanted 0 or more"),
        (
            replicates >= 0,
            f"{replicates} replicates of the bootstrap: wanted 0 (no intervals) or more",
        ),
        (0 < level < 1, f"intervals of level {level}: wanted above 0 and below 1"),
    )
    for holds, complaint in rules:
        if not holds:
            raise InputError(complaint)
    for array, what in ((groups, "groups"), (source, "sources")):
        if array is not None and np.shape(array) != (fields,):
            raise InputError(
                f"{what} of shape {np.shape(array)} for {fields} fields: give one number a field"
            )
    if source is not None and not ((source >= 0) & (source < len(source_names))).all():
        raise InputError(
            f"sources run from {source.min()} to {source.max()}, but {len(source_names)} have names"
        )


def _figures(scores, targets, decisions: dict, groups, draw: dict) -> tuple[dict, dict, dict, dict]:
    """Plain figures over all labels, arrays [L] by label, and the intervals of both ([L, 2] by label)."""
    borne, over_all, by_label = targets != 0, {}, {}
    for suffix, given in decisions.items():
        found = classification.ratios(classification.decisions(given, borne)) | {
            "samples_f1": classification.samples_f1(given, borne)
        }
        own = found.pop("per_label")
        over_all |= {f"{name}{suffix}": value for name, value in found.items()}
        by_label |= {f"{name}{suffix}": own[name] for name in ("precision", "recall", "f1")}
    ranked, reliability = ranking.figures(scores, targets), calibration.reliability(scores, targets)
    by_label |= ranked.pop("per_label") | {"calibration_error": calibration.error(reliability)}
    over_all |= {name: bootstrap.plain(value) for name, value in ranked.items()}
    over_all["calibration_error"] = float(calibration.error(reliability.pooled()))
    if not draw["replicates"]:
        return over_all, by_label, {}, {}
    found, of_label = bootstrap.intervals(
        targets, decisions=decisions, scores=scores, groups=groups, **draw
    )
    intervals = {name: bootstrap.plain(ends) for name, ends in found.items()}
    return (
        over_all,
        by_label,
        intervals,
        {f"{name}_interval": ends for name, ends in of_label.items()},
    )


def _of_source(rows: np.ndarray, scores, targets, decisions: dict, groups, draw: dict) -> dict:
    """Figures of some of the fields, with the decisions that all fields' folds have led to."""
    if not rows.any():
        return {"fields": 0}
    decisions = {name: given[rows] for name, given in decisions.items()}
    groups = None if groups is None else groups[rows]
    over_all, _, intervals, _ = _figures(scores[rows], targets[rows], decisions, groups, draw)
    return {"fields": int(rows.sum()), **over_all, "intervals": intervals}
