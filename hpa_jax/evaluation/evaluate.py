"""Scores and figures of a run, of several runs together, or of anyone's arrays.

A finished run is evaluated from its scores, by the evaluator that takes anyone's (scores.py), and its thresholds,
fitted on the part that training evaluated, are applied to any other part. The scores stay in WORKDIR/scores.
"""

from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from hpa_jax.config import Config, Evaluate, listed
from hpa_jax.evaluation.console import format_table
from hpa_jax.evaluation.ensemble import pool
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_arrays import load_groups, load_scores
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.files import write_json
from hpa_jax.metrics import classification, stacking, thresholds
from hpa_jax.metrics.summary import evaluate_scores
from hpa_jax.parallel.mesh import make_mesh


def score_table(config: Config, workdir: Path) -> ScoreTable:
    """The scores of a run, or of config.evaluate.runs together, on `config.data.eval_split`.

    Those that WORKDIR/scores holds are taken where checkpoint, data and views are the same; others are put there.

    Raises:
      InputError: no such run, checkpoint, dataset or part; settings that are none.
    """
    if config.evaluate.runs:
        return pool(config, workdir).table
    return Predictor(config, workdir).table(config.data.eval_split, listed(config.evaluate.sources))


def evaluate_table(table: ScoreTable, config: Config, mesh: Mesh | None = None) -> dict:
    """Every figure of a table of scores, by the evaluator that takes anyone's (hpa_jax.metrics.summary.evaluate_scores).

    Where the thresholds that came with the scores were fitted on another part, also what they are worth on this one.
    """
    report = (
        {"checkpoint": table.checkpoint} if table.checkpoint >= 0 else {}
    )  # an ensemble has several
    report |= {"dataset": ", ".join(table.source_names), "split": table.split}
    several = len(table.source_names) > 1
    report |= {"views": table.views} | evaluate_scores(
        table.scores,
        table.targets,
        label_ids=table.label_ids,
        groups=table.groups,
        source=table.source if several else None,
        source_names=table.source_names if several else (),
        mesh=mesh,
        **_settings(config.evaluate),
    )
    if table.thresholds_split not in ("", table.split):
        decided = thresholds.decide(
            table.scores, table.thresholds, fill_empty=config.evaluate.fill_empty
        )
        figures = classification.ratios(classification.decisions(decided, table.targets > 0))
        report["macro_f1_stored_thresholds"] = figures["macro_f1"]
        report["micro_f1_stored_thresholds"] = figures["micro_f1"]
        report["stored_thresholds_fitted_on"] = table.thresholds_split
    return report


def evaluate_run(config: Config, workdir: Path) -> None:
    """Evaluates a run's checkpoint, or several runs', on `config.data.eval_split`: evaluation.json and a table."""
    if config.evaluate.runs:
        pooled = pool(config, workdir)
        report = {"runs": list(listed(config.evaluate.runs)), "models": pooled.models}
        report |= evaluate_table(pooled.table, config, make_mesh())
        _tell(report, workdir, pooled.said)
    else:
        _tell(evaluate_table(score_table(config, workdir), config, make_mesh()), workdir)


def evaluate_arrays(config: Config, workdir: Path) -> None:
    """Evaluates anyone's scores against targets; writes evaluation.json and prints a table.

    Several arrays of the same fields are evaluated as their mixture, each field's with weights that were fitted without
    its fold; `models` in evaluation.json has the weights fitted on all.
    """
    e = config.evaluate
    paths = (e.scores,) if Path(e.scores).exists() else listed(e.scores) or (e.scores,)
    arrays, targets = zip(*(load_scores(path, e.targets) for path in paths), strict=True)
    scores, targets = arrays[0], targets[0]
    groups = load_groups(e.groups, len(targets)) if e.groups else None
    report, said = {"scores": e.scores, "targets": e.targets}, ""
    if len(arrays) > 1:
        stacked, dealt = np.stack(arrays), {"folds": e.folds, "seed": e.seed, "groups": groups}
        scores, _ = stacking.crossfit_mix(stacked, targets, **dealt)
        models = zip(paths, arrays, stacking.fit_weights(stacked, targets), strict=True)
        few = {"few_positives": e.few_positives, "fill_empty": e.fill_empty}
        report["models"] = [
            {
                "scores": path,
                "weight": float(weight),
                "macro_f1_crossfit": thresholds.crossfit(array, targets, **dealt, **few)[
                    "crossfit"
                ]["macro_f1"],
            }
            for path, array, weight in models
        ]
        said = "".join(
            f"weight {model['weight']:.3f}: {model['scores']}; alone macro F1 {model['macro_f1_crossfit']:.4f} "
            "cross-fitted\n"
            for model in report["models"]
        )
    found = evaluate_scores(scores, targets, groups=groups, mesh=make_mesh(), **_settings(e))
    _tell(report | found, workdir, said)


def _settings(e: Evaluate) -> dict:
    return {
        "folds": e.folds,
        "seed": e.seed,
        "few_positives": e.few_positives,
        "fill_empty": e.fill_empty,
        "replicates": e.replicates,
        "level": e.level,
    }


def _tell(report: dict, workdir: Path, more: str = "") -> None:
    stored = ""
    if "stored_thresholds_fitted_on" in report:
        stored = (
            f"thresholds fitted on {report['stored_thresholds_fitted_on']} and kept since: macro F1 "
            f"{report['macro_f1_stored_thresholds']:.4f}, micro F1 {report['micro_f1_stored_thresholds']:.4f}\n"
        )
    path = workdir / "evaluation.json"
    write_json(path, report)
    print(f"{format_table(report)}\n{stored}{more}wrote {path}")
