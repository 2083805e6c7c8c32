"""What is known of a run: its configuration, its lines of metrics.jsonl, the scores of one checkpoint, evaluated."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_jax.config import Config, listed
from hpa_jax.errors import InputError
from hpa_jax.evaluation.evaluate import evaluate_table, score_table
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.labels import LABELS
from hpa_jax.metrics.thresholds import crossfit_decisions
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.workdir import read_config

MOST = 4
"""Runs beside the first: a page has colours and dashes for five."""

FIGURES = (
    ("macro_f1", "Macro F1 at 0.5"),
    ("macro_f1_crossfit", "Macro F1, cross-fitted thresholds"),
    ("micro_f1", "Micro F1 at 0.5"),
    ("micro_f1_crossfit", "Micro F1, cross-fitted thresholds"),
    ("samples_f1", "Samples F1 at 0.5"),
    ("samples_f1_crossfit", "Samples F1, cross-fitted thresholds"),
    ("accuracy", "Element-wise accuracy at 0.5"),
    ("macro_average_precision", "Macro average precision"),
    ("micro_average_precision", "Micro average precision"),
    ("macro_auc", "Macro AUC"),
    ("calibration_error", "Calibration error"),
)
"""Figures over all labels that a page shows, where the evaluation has them, and their names."""


@dataclass(frozen=True)
class Run:
    """
    Attributes:
      name: the folder's, made distinct.
      config: resolved.
      lines: of metrics.jsonl, in order; none where training left none.
      table: the scores of one checkpoint.
      figures: what `evaluate_table` gives of them.
      decided: bool [N, L], the labels predicted with cross-fitted thresholds.
    """

    name: str
    config: Config
    lines: list[dict]
    table: ScoreTable
    figures: dict
    decided: np.ndarray

    def labels(self) -> list[str]:
        """The names of the columns."""
        return [LABELS[i] for i in self.table.label_ids]

    def column(self, label_id: int) -> int | None:
        """Where a label stands among this run's; None where it was not learnt."""
        ids = list(self.table.label_ids)
        return ids.index(label_id) if label_id in ids else None

    def by_support(self) -> list[int]:
        """Columns, the label that most fields bear first."""
        return np.argsort(-(self.table.targets != 0).sum(axis=0), kind="stable").tolist()

    def interval(self, figure: str) -> tuple[float, float] | None:
        """Of one of FIGURES; None where there is none."""
        found = self.figures.get("intervals", {}).get(figure)
        return None if found is None or None in found else (float(found[0]), float(found[1]))


def read_runs(config: Config, workdir: Path) -> list[Run]:
    """The run in `workdir` and those of `config.report.compare`, scored on the same part, evaluated in the same way.

    Raises InputError: a folder that holds no run, too many of them, an ensemble, or what scoring them raises.
    """
    if config.evaluate.runs:
        raise InputError(
            "config.evaluate.runs makes an ensemble, which has no report; compare with config.report.compare"
        )
    others = [Path(folder) for folder in listed(config.report.compare)]
    if len(others) > MOST:
        raise InputError(
            f"config.report.compare names {len(others)} runs: a page has room for {MOST} beside WORKDIR's"
        )
    own = read_config(workdir)
    configs = [config, *(_alike(read_config(folder), config, own) for folder in others)]
    folders = [workdir, *others]
    return [
        read_run(one, folder, name)
        for one, folder, name in zip(configs, folders, distinct_names(folders), strict=True)
    ]


def _alike(other: Config, config: Config, own: Config) -> Config:
    """`other` with the part, the evaluation and, where the command line gives another, the data folder of `config`."""
    made = copy.deepcopy(other)
    which = config.evaluate.checkpoint
    made.evaluate = copy.deepcopy(config.evaluate)
    made.evaluate.checkpoint = (
        which if which in ("best", "latest") else "best"
    )  # a step of one run is none of another
    made.data.eval_split = config.data.eval_split
    if config.data.data_dir != own.data.data_dir:
        made.data.data_dir = config.data.data_dir
    return made


def read_run(config: Config, workdir: Path, name: str) -> Run:
    """One run, scored on `config.data.eval_split` unless that was done before."""
    try:
        table = score_table(config, workdir)
    except PermissionError as error:
        raise InputError(
            f"{workdir}: its scores cannot be kept there ({error.strerror}); make the folder writable, or copy it"
        ) from None
    return made_run(name, config, read_lines(workdir / "metrics.jsonl"), table)


def made_run(name: str, config: Config, lines: list[dict], table: ScoreTable) -> Run:
    """A run from its scores."""
    return Run(
        name,
        config,
        lines,
        table,
        evaluate_table(table, config, make_mesh()),
        decided(config, table),
    )


def decided(config: Config, table: ScoreTable) -> np.ndarray:
    """bool [N, L]: the labels predicted with thresholds that were not fitted on the field itself."""
    e = config.evaluate
    return crossfit_decisions(
        table.scores,
        table.targets,
        folds=e.folds,
        seed=e.seed,
        groups=table.groups,
        few_positives=e.few_positives,
        fill_empty=e.fill_empty,
    )


def read_lines(path: Path) -> list[dict]:
    """The objects of a file of JSON lines; a last line that a kill cut short is left out.

    Raises InputError: another line that is no record of a run.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); it is written by training, not to be edited"
        ) from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records.append(
                {"step": int(record["step"]), "split": str(record["split"])} | _numbers(record)
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines) and not line.endswith("\n"):
                break
            raise InputError(
                f"{path}: line {number} is no record of a run; it is not to be edited"
            ) from None
    return records


def _numbers(record: dict) -> dict[str, float]:
    figures = {name: value for name, value in record.items() if name not in ("step", "split")}
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart; the same folder twice is numbered."""
    parts = [path.resolve().parts[1:] for path in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name or path} ({number})" for number, path in enumerate(folders, 1)]
