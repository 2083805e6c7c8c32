"""What a run's evaluation.json says of the checkpoint that is exported.

The file is for people, and may be of another checkpoint, an ensemble's or anyone's scores, damaged
or not there: then a card shows no figure, and says why.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpa_jax.errors import one_line
from hpa_jax.serving.decision import ARGMAX

NAME = "evaluation.json"


@dataclass(frozen=True)
class Figure:
    """A metric.

    Attributes:
      name: in words.
      kind: of metric, as Hugging Face calls it.
      value: mostly 0 to 1.
      interval: low and high; None where the evaluation has none.
    """

    name: str
    kind: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class LabelFigures:
    """Of one label.

    Attributes:
      positives: images that have it.
      f1: at its cross-fitted threshold, or of the most probable labels; None: undefined.
      recall: the same, where each image has one label.
      average_precision: None: undefined.
    """

    positives: int
    f1: Figure | None
    average_precision: Figure | None
    recall: Figure | None = None


@dataclass(frozen=True)
class Evaluation:
    """Of one checkpoint.

    Attributes:
      dataset, split: that it was evaluated on.
      images: how many these are; groups: how many of them are independent.
      level: of the intervals, 0 to 1.
      tta: test-time augmentation, in words; "" without, as an export is.
      learned_images: of them that the net has learnt from; None: not known.
      figures: over all labels.
      by_label: by the label's name.
    """

    dataset: str
    split: str
    images: int
    groups: int
    level: float
    tta: str
    learned_images: int | None
    figures: tuple[Figure, ...]
    by_label: dict[str, LabelFigures]


# Name, Hugging Face's kind of metric, and key.
_FIGURES = (
    ("macro F1, thresholds cross-fitted", "f1", "macro_f1_crossfit"),
    ("micro F1, thresholds cross-fitted", "f1", "micro_f1_crossfit"),
    ("macro F1 at the thresholds of this export", "f1", "macro_f1_stored_thresholds"),
    ("macro F1 at 0.5", "f1", "macro_f1"),
    ("macro average precision", "average_precision", "macro_average_precision"),
    ("macro AUC", "roc_auc", "macro_auc"),
    ("calibration error", "calibration_error", "calibration_error"),
)
_SINGLE_LABEL_FIGURES = (
    ("accuracy", "accuracy", "accuracy"),
    ("mean class accuracy", "accuracy", "mean_class_accuracy"),
    ("macro F1", "f1", "macro_f1"),
    *_FIGURES[-3:],
)
_PLAIN = ("whole image", "none", "")


def untempered(evaluation: Evaluation, *, single_label: bool) -> Evaluation:
    """The figures that hold at any temperature, for a net that is exported at one.

    Args:
      evaluation: at the temperature 1.
      single_label: every image has exactly one label. A softmax at another temperature may order
        the images of a label anew, and what follows from their order goes as well.
    """
    dropped = {"calibration_error"}
    if single_label:
        dropped |= {"average_precision", "roc_auc"}
    kept = [figure for figure in evaluation.figures if figure.kind not in dropped]
    return dataclasses.replace(evaluation, figures=tuple(kept))


def read_evaluation(folders: Iterable[Path], checkpoint: int, labels: Sequence[str]) -> Evaluation:
    """The evaluation of a checkpoint.

    Args:
      folders: that may hold evaluation.json; the first that does counts.
      checkpoint: its step.
      labels: names, in the order of the net's outputs.

    Raises:
      ValueError: there is none of this checkpoint; the text is the reason.
    """
    for folder in folders:
        path = folder / NAME
        if path.is_file():
            break
    else:
        raise ValueError("the run had not been evaluated when it was exported")
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"the run's {NAME} cannot be read") from error
    try:
        return _evaluation(report, checkpoint, labels)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"the run's {NAME} is not as this program writes it") from error


def _evaluation(report: dict, checkpoint: int, labels: Sequence[str]) -> Evaluation:
    found = report.get("checkpoint")
    if found is None:
        raise ValueError(f"the run's {NAME} is of an ensemble, or of scores without a net")
    if found != checkpoint:
        raise ValueError(
            f"the run's {NAME} is of checkpoint {one_line(str(found), 40)}, and not of "
            f"{checkpoint}, which was exported"
        )
    rows = report["per_label"]
    if [row["name"] for row in rows] != list(labels):
        raise ValueError(f"the run's {NAME} is of other labels")
    single_label = report.get("decision") == ARGMAX
    figures = []
    for name, kind, key in _SINGLE_LABEL_FIGURES if single_label else _FIGURES:
        figure = _figure(name, kind, report.get(key), report["intervals"].get(key))
        if figure is not None:
            figures.append(figure)
    by_label = {}
    for row in rows:
        f1 = _of_label(row, "f1", "f1" if single_label else "f1_crossfit")
        precision = _of_label(row, "average_precision", "average_precision")
        recall = _of_label(row, "recall", "recall")
        by_label[row["name"]] = LabelFigures(_count(row["support"]), f1, precision, recall)
    tta = str(report["tta"])
    learned = report.get("learned_images")
    return Evaluation(
        dataset=str(report["dataset"]),
        split=str(report["split"]),
        images=_count(report["images"]),
        groups=_count(report["groups"]),
        level=_finite(report["level"]),
        tta="" if tta in _PLAIN else tta,
        learned_images=None if learned is None else _count(learned),
        figures=tuple(figures),
        by_label=by_label,
    )


def _of_label(row: dict, kind: str, key: str) -> Figure | None:
    return _figure(key, kind, row.get(key), row.get(f"{key}_interval"))


def _figure(name: str, kind: str, value: Any, interval: Any) -> Figure | None:
    """None where a metric is undefined."""
    if value is None:
        return None
    bounds = None
    if interval is not None and None not in interval:
        bounds = (_finite(interval[0]), _finite(interval[1]))
    return Figure(name, kind, _finite(value), bounds)


def _count(value: Any) -> int:
    return int(_finite(value))


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("no number")
    return float(value)
