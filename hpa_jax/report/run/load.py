"""What is known of a run: configuration, metrics.jsonl, and one checkpoint's scores, evaluated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpa_jax.config import Config, Evaluate, listed
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.evaluation.evaluate import evaluate_table, score_with
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.evaluation.split_scores import SplitScores, scores_folder
from hpa_jax.metrics.crossfitting import crossfit_decisions
from hpa_jax.optim.losses import is_single_label
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.report.line_charts import STYLES
from hpa_jax.tracking.metrics_file import FILE_NAME, read_records
from hpa_jax.workdir import read_config

MAX_OTHERS = STYLES - 1
"""Runs that a page has room for beside the first."""

METRICS = {
    "macro_f1": "Macro F1 at 0.5",
    "macro_f1_crossfit": "Macro F1, cross-fitted thresholds",
    "micro_f1": "Micro F1 at 0.5",
    "micro_f1_crossfit": "Micro F1, cross-fitted thresholds",
    "samples_f1": "Samples F1 at 0.5",
    "samples_f1_crossfit": "Samples F1, cross-fitted thresholds",
    "accuracy": "Element-wise accuracy at 0.5",
    "macro_average_precision": "Macro average precision",
    "micro_average_precision": "Micro average precision",
    "macro_auc": "Macro AUC",
    "calibration_error": "Calibration error",
}
"""Metrics over all labels that a page shows, where the evaluation has them, and their names."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """A run and the evaluation of one of its checkpoints on N images and L labels.

    Attributes:
      name: the folder's, made distinct.
      config: resolved.
      records: of metrics.jsonl, in order; none where training left none.
      table: the scores.
      metrics: from `evaluate_table`.
      predicted: bool [N, L], the labels predicted with cross-fitted thresholds; where every image
        has one label, the most probable.
      votes: what a fused net's votes weigh and bring (`Predictor.votes`); None: it has none.
    """

    name: str
    config: Config
    records: list[dict]
    table: ScoreTable
    metrics: dict
    predicted: np.ndarray
    votes: dict | None = None

    def labels(self) -> list[str]:
        """Returns the names of the columns."""
        return list(self.table.label_names)

    def column(self, label: str) -> int | None:
        """Returns the column of a label by its name; None where the run has not learnt it.

        An id would be another label in a run of another vocabulary.
        """
        if label not in self.table.label_names:
            return None
        return self.table.label_names.index(label)

    def by_support(self) -> list[int]:
        """Returns the columns, the label that most images have first."""
        support = (self.table.targets != 0).sum(axis=0)
        return np.argsort(-support, kind="stable").tolist()

    def interval(self, metric: str) -> Interval | None:
        """Returns the interval of one of METRICS; None where it has none."""
        return defined_interval(self.metrics.get("intervals", {}).get(metric))


def defined_interval(ends: Sequence[float | None] | None) -> Interval | None:
    """Returns an interval as two floats; None where an end is not defined."""
    if ends is None or None in ends or not all(math.isfinite(end) for end in ends):
        return None
    low, high = ends
    return float(low), float(high)


def read_runs(
    config: Config, workdir: Path, out: Path | None = None
) -> tuple[list[Run], Predictor]:
    """Reads the run in `workdir` and those of `config.report.compare`, evaluated alike.

    Args:
      config: of the run in `workdir`.
      workdir: its folder.
      out: keeps new scores of that run, and below it those of other runs whose folders cannot be
        written; None: `workdir`.

    Returns:
      The runs, and the predictor of the first. Its net is in memory: scores and pictures are of
      one checkpoint, which a training may remove meanwhile.

    Raises:
      InputError: a folder that holds no run, too many of them, an ensemble, or what scoring them
        raises.
    """
    if config.evaluate.runs:
        raise InputError(
            "config.evaluate.runs makes an ensemble, which has no report; "
            "compare with config.report.compare"
        )
    others = [local_path(run, "config.report.compare") for run in listed(config.report.compare)]
    if len(others) > MAX_OTHERS:
        raise InputError(
            f"config.report.compare names {len(others)} runs: "
            f"a page has room for {MAX_OTHERS} beside WORKDIR's"
        )
    # As training left it, without what this command line changes.
    own = read_config(workdir)
    for folder in others:
        if is_single_label(own.train.loss) or is_single_label(read_config(folder).train.loss):
            raise InputError(
                "config.report.compare: runs that learn one label an image "
                "(config.train.loss=softmax_cross_entropy) are not compared; "
                "give each a page of its own"
            )
    configs = []
    for folder in others:
        configs.append(_evaluated_alike(read_config(folder), config, own))
    folders = [workdir, *others]
    names = distinct_names(folders)
    out = out or workdir
    predictor = Predictor(config, workdir)
    _ = predictor.variables
    runs = [read_run(SplitScores(predictor, out), names[0])]
    for other_config, folder, name in zip(configs, others, names[1:], strict=True):
        other = Predictor(other_config, folder)
        runs.append(read_run(SplitScores(other, scores_folder(folder, out)), name))
    return runs, predictor


def _evaluated_alike(other: Config, config: Config, own: Config) -> Config:
    """Returns `other` with the split and the evaluation of `config`.

    It also takes the data folder of `config` where the command line gives another than training
    had (`own`).
    """
    checkpoint = config.evaluate.checkpoint
    if checkpoint not in ("best", "latest"):
        # A step of one run need not exist in another.
        checkpoint = "best"
    data = replace(other.data, eval_split=config.data.eval_split)
    if config.data.data_dir != own.data.data_dir:
        data = replace(data, data_dir=config.data.data_dir)
    return replace(other, data=data, evaluate=replace(config.evaluate, checkpoint=checkpoint))


def read_run(kept: SplitScores, name: str) -> Run:
    """Reads one run, and scores it on `config.data.eval_split` unless that was done before."""
    table = score_with(kept)
    predictor = kept.predictor
    run = make_run(name, predictor.config, read_records(predictor.workdir / FILE_NAME), table)
    return replace(run, votes=predictor.votes)


def make_run(name: str, config: Config, records: list[dict], table: ScoreTable) -> Run:
    """Evaluates the scores of a run."""
    metrics = evaluate_table(table, config.evaluate, make_mesh())
    if table.single_label:
        predicted = table.decide()
    else:
        predicted = crossfit_predictions(config.evaluate, table)
    return Run(name, config, records, table, metrics, predicted)


def crossfit_predictions(evaluate: Evaluate, table: ScoreTable) -> np.ndarray:
    """Returns bool [N, L]: decisions by thresholds that were not fitted on the image itself."""
    return crossfit_decisions(
        table.scores,
        table.targets,
        folds=evaluate.folds,
        seed=evaluate.seed,
        groups=table.groups,
        few_positives=evaluate.few_positives,
        fill_empty=evaluate.fill_empty,
    )


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Returns the last parts of paths, as many as tell them apart; equal ones are numbered."""
    paths = [path.resolve().parts[1:] for path in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name or path} ({number})" for number, path in enumerate(folders, 1)]
