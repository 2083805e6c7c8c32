"""Anyone's score array through the same evaluator, no model needed: load, check, evaluate, print, write.

The figures at 0.5, per label too; the same with thresholds cross-fitted over seeded folds (`*_crossfit`, the honest
figure); and with thresholds fitted on all fields and scored on the same ones (`*_in_sample`, the optimistic one).

Unusual here: nothing is guessed. Scores outside [0, 1] are refused, not squashed, and targets other than 0 and 1 are
refused, not rounded: a logit taken for a probability would move every figure without a word.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import metrics, thresholds
from .errors import InputError
from .labels import LABELS

_NPY_MAGIC = b"\x93NUMPY"


def load_scores(scores_path, targets_path) -> tuple[np.ndarray, np.ndarray]:
    """Reads two .npy files and checks them.

    Args:
      scores_path: float [N, L] in [0, 1], any float type; label i is column i.
      targets_path: [N, L] of 0 and 1, of any integer or float type, or bool.

    Returns:
      scores in the file's own float type, targets uint8, both [N, L].

    Raises:
      InputError: a file cannot be read, holds something else than asked for, or the two do not belong together.
    """
    scores, targets = _load(scores_path, "scores"), _load(targets_path, "targets")
    if scores.shape != targets.shape:
        hint = "transpose one of them" if scores.shape == targets.shape[::-1] else "give the targets of the same fields"
        raise InputError(
            f"{scores_path} has shape {scores.shape} and {targets_path} has shape {targets.shape}: "
            f"scores and targets must match, {hint}"
        )
    _check_scores(scores, scores_path)
    _check_targets(targets, targets_path)
    return scores, targets.astype(np.uint8)


def _load(path, what: str) -> np.ndarray:
    path = Path(path)
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_NPY_MAGIC))
            if magic != _NPY_MAGIC:
                raise InputError(f"{path}: not a .npy file ({what}); write it with numpy.save")
            file.seek(0)
            array = np.load(file, allow_pickle=False)  # a pickle can run any code: never
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError) as error:
        # NumPy says "Object arrays cannot be loaded" of pickles, "cannot reshape" of a file that was cut short
        raise InputError(f"{path}: cannot read the {what}: {' '.join(str(error).split())}; save it again") from None
    if array.ndim != 2:
        raise InputError(f"{path}: the {what} have shape {array.shape}, wanted [fields, labels]")
    for size, axis in zip(array.shape, ("fields", "labels"), strict=True):
        if size == 0:
            raise InputError(f"{path}: the {what} have shape {array.shape}, no {axis}: nothing to evaluate")
    return array


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
        raise InputError(f"{path}: row {row}, label {label} is {scores[row, label]}: every score must be a number")
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
        raise InputError(f"{path}: row {row}, label {label} is {targets[row, label]}: every target must be 0 or 1")


def evaluate_scores(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    label_ids: Sequence[int] | None = None,
    folds: int = 5,
    seed: int = 0,
    mesh=None,
) -> dict:
    """Every figure of a score array, as plain Python values that go into JSON as they are.

    Args:
      scores: float [N, L] in [0, 1]; targets: 0/1 [N, L]; both as `load_scores` returns them.
      label_ids: which of the 28 labels each column is; None takes 28 columns for all of them, and others as nameless.
      folds, seed: of the cross-fit. With fewer fields than folds each field is a fold, and `note` says so.
      mesh: its axis `data` shares the rows; None counts on the default device.

    Returns:
      fields, labels, threshold; the figures of `metrics.ratios` at 0.5; macro_f1_crossfit, micro_f1_crossfit,
      macro_f1_in_sample, micro_f1_in_sample; folds, seed; thresholds_in_sample (one a label); per_label (one dict a
      label); note, if there is something to say.
    """
    if folds < 2:
        raise InputError(f"cross-fitting over {folds} folds: wanted at least 2")
    fitted = thresholds.crossfit(scores, targets, folds=folds, seed=seed, mesh=mesh)
    at_half = metrics.figures(fitted["counts"])
    by_label, held_out = at_half.pop("per_label"), fitted["crossfit"]
    fields, labels = scores.shape
    if label_ids is None:
        label_ids = range(labels)
        names = LABELS if labels == len(LABELS) else [f"label_{i}" for i in label_ids]
    else:
        names = [LABELS[i] for i in label_ids]
    report = {
        "fields": fields,
        "labels": labels,
        "threshold": 0.5,
        **at_half,
        "macro_f1_crossfit": held_out["macro_f1"],
        "micro_f1_crossfit": held_out["micro_f1"],
        "macro_f1_in_sample": fitted["in_sample"]["macro_f1"],
        "micro_f1_in_sample": fitted["in_sample"]["micro_f1"],
        "folds": fitted["folds"],
        "seed": seed,
        "thresholds_in_sample": fitted["thresholds"].tolist(),
        "per_label": [
            {
                "id": label_ids[i],
                "name": names[i],
                "support": int(by_label["support"][i]),
                "precision": float(by_label["precision"][i]),
                "recall": float(by_label["recall"][i]),
                "f1": float(by_label["f1"][i]),
                "f1_crossfit": float(held_out["per_label"]["f1"][i]),
                "threshold": float(fitted["thresholds"][i]),
            }
            for i in range(labels)
        ],
    }
    if fields == 1:
        report["note"] = "one field cannot be cross-fitted: the *_crossfit figures are those at threshold 0.5"
    elif fields < folds:
        report["note"] = f"cross-fitted over {fields} folds, not {folds}: there are only {fields} fields"
    return report


def format_table(report: dict) -> str:
    """The report of `evaluate_scores` as a table for the terminal: a row a label, then the figures over all labels."""
    width = max(len("label"), *(len(row["name"]) for row in report["per_label"]))
    lines = [
        f"{'id':>4}  {'label':<{width}}  {'fields':>7}  {'precision':>9}  {'recall':>6}  {'F1':>6}  "
        f"{'F1 cross-fitted':>15}  {'threshold':>9}"
    ]
    for row in report["per_label"]:
        lines.append(
            f"{row['id']:>4}  {row['name']:<{width}}  {row['support']:>7}  {row['precision']:>9.4f}  "
            f"{row['recall']:>6.4f}  {row['f1']:>6.4f}  {row['f1_crossfit']:>15.4f}  {row['threshold']:>9.3f}"
        )
    lines.append("-" * len(lines[0]))
    for average in ("macro", "micro"):
        lines.append(
            f"{'':>4}  {average:<{width}}  {report['fields']:>7}  {report[f'{average}_precision']:>9.4f}  "
            f"{report[f'{average}_recall']:>6.4f}  {report[f'{average}_f1']:>6.4f}  "
            f"{report[f'{average}_f1_crossfit']:>15.4f}"
        )
    lines += [
        "",
        f"accuracy of single decisions {report['accuracy']:.4f}; macro F1 over the labels that occur "
        f"{report['macro_f1_present']:.4f}; precision, recall, F1 at threshold 0.5",
        f"thresholds fitted on all these fields: macro F1 {report['macro_f1_in_sample']:.4f} on the same fields "
        f"(optimistic), {report['macro_f1_crossfit']:.4f} cross-fitted over {report['folds']} folds",
    ]
    if "note" in report:
        lines.append(f"note: {report['note']}")
    return "\n".join(lines)
