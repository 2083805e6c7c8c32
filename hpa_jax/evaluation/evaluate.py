"""Scores and metrics of a run, of several runs together, or of anyone's arrays.

A finished run is evaluated from its scores, by the evaluator that takes anyone's
(`hpa_jax.metrics.summary.evaluate`). Its thresholds, fitted on the split that training evaluated,
are applied to any other split. The scores stay in OUT/scores (`--out`, by default the workdir).
"""

from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from hpa_jax.buckets.scratch import shown
from hpa_jax.config import Config, Evaluate, listed
from hpa_jax.data import label_list
from hpa_jax.errors import InputError
from hpa_jax.evaluation.common_labels import CommonLabels, refuse_map
from hpa_jax.evaluation.console import format_table
from hpa_jax.evaluation.ensemble import Ensemble, score_ensemble
from hpa_jax.evaluation.held_out import HeldOut, check_held_out
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_arrays import load_groups, load_scores
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.evaluation.split_scores import SplitScores
from hpa_jax.files import write_json
from hpa_jax.metrics import classification, single_label_summary, stacking, summary
from hpa_jax.metrics.checks import check_single_labels
from hpa_jax.metrics.crossfitting import crossfit
from hpa_jax.parallel.mesh import make_mesh

# Of evaluation.json: lines that tell of other channels or another scale than a run has learnt from.
_ACQUISITION = "acquisition_warnings"


def score_run(
    config: Config, workdir: Path, out: Path | None = None, labels_needed: bool = True
) -> ScoreTable:
    """The scores of a run, or of config.evaluate.runs together, on `config.data.eval_split`.

    Those that WORKDIR/scores or OUT/scores holds are used where checkpoint, data and test-time
    augmentation are the same; others are written to OUT/scores. A run that has learnt from some of
    these images is told of.

    Args:
      config: of the run, or of this call.
      workdir: the run's folder, or the ensemble's.
      out: the folder of what is written; None: `workdir`.
      labels_needed: see `SplitScores.table`.

    Raises:
      InputError: no such run, checkpoint, dataset or split; a setting that is unknown.
    """
    refuse_map(config.evaluate)
    if config.evaluate.runs:
        return _score_ensemble(config, workdir, out, labels_needed).table
    kept = SplitScores(Predictor(config, workdir), out)
    table, _ = _score_one_run(kept, labels_needed)
    return table


def score_with(kept: SplitScores) -> ScoreTable:
    """`score_run`, of one run whose scores are kept there."""
    refuse_map(kept.predictor.config.evaluate)
    table, _ = _score_one_run(kept)
    return table


def _score_one_run(kept: SplitScores, labels_needed: bool = True) -> tuple[ScoreTable, HeldOut]:
    config = kept.predictor.config
    sources = listed(config.evaluate.sources)
    table = kept.table(config.data.eval_split, sources, labels_needed)
    held_out = check_held_out(kept.predictor.workdir, config.data.data_dir, table)
    held_out.print_warnings()
    return table, held_out


def _score_common_labels(kept: SplitScores) -> tuple[ScoreTable, HeldOut, CommonLabels]:
    """As `_score_one_run`, on data of another vocabulary."""
    config = kept.predictor.config
    settings = config.evaluate
    table, common = kept.common_table(
        config.data.eval_split, listed(settings.sources), settings.label_map
    )
    held_out = check_held_out(kept.predictor.workdir, config.data.data_dir, table)
    held_out.print_warnings()
    return table, held_out, common


def _score_ensemble(
    config: Config, workdir: Path, out: Path | None, labels_needed: bool = True
) -> Ensemble:
    """Where this call names other data than the default, the runs are scored on that."""
    default = Config().data
    data_overrides = {}
    for name in ("data_dir", "name", "eval_split"):
        value = getattr(config.data, name)
        if value != getattr(default, name):
            data_overrides[name] = value
    return score_ensemble(config.evaluate, workdir, data_overrides, out, labels_needed)


def evaluate_table(table: ScoreTable, settings: Evaluate, mesh: Mesh | None = None) -> dict:
    """Every metric of a table of scores, as `hpa_jax.metrics.summary.evaluate` returns them.

    Where the thresholds that came with the scores were fitted on another split, also what they
    achieve on this one.

    Args:
      table: of one split.
      settings: of the cross-fit and the bootstrap.
      mesh: over whose axis `data` the rows are sharded; None counts on the default device.
    """
    report = {}
    # An ensemble has several checkpoints.
    if table.checkpoint >= 0:
        report["checkpoint"] = table.checkpoint
    report["dataset"] = ", ".join(table.source_names)
    report["split"] = table.split
    report["tta"] = table.tta
    sources = {}
    if len(table.source_names) > 1:
        sources = {"source": table.source, "source_names": table.source_names}
    if table.single_label:
        check_single_labels(table.targets, table.ids, f"images of {table.split}")
        return report | single_label_summary.evaluate(
            table.scores,
            table.targets,
            table.groups,
            label_ids=table.label_ids,
            label_names=table.label_names,
            folds=settings.folds,
            **sources,
            **_bootstrap_settings(settings),
        )
    report |= summary.evaluate(
        table.scores,
        table.targets,
        table.groups,
        label_ids=table.label_ids,
        label_names=table.label_names,
        mesh=mesh,
        **sources,
        **_evaluator_settings(settings),
    )
    # On the split that they were fitted on they would flatter themselves.
    if table.thresholds_split not in ("", table.split):
        decided = table.decide(fill_empty=settings.fill_empty)
        positive = table.targets > 0
        report["macro_f1_stored_thresholds"] = classification.macro_f1(decided, positive)
        report["micro_f1_stored_thresholds"] = classification.micro_f1(decided, positive)
        report["stored_thresholds_fitted_on"] = table.thresholds_split
    return report


def evaluate_run(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Evaluates a run's checkpoint, or several runs', on `config.data.eval_split`.

    Writes OUT/evaluation.json and prints a table. Arguments as for `score_run`.
    """
    folder = out or workdir
    if not config.evaluate.runs:
        predictor = Predictor(config, workdir)
        kept = SplitScores(predictor, out)
        common = None
        if config.evaluate.label_map:
            table, held_out, common = _score_common_labels(kept)
        else:
            table, held_out = _score_one_run(kept)
        report = evaluate_table(table, config.evaluate, make_mesh())
        report |= held_out.to_dict()
        report[_ACQUISITION] = predictor.acquisition_warnings(table.source_names)
        messages = []
        if common:
            report["label_map"] = common.to_dict()
            messages = common.lines()
        if predictor.votes:
            report["votes"] = predictor.votes
            messages.append(_vote_message(predictor.votes))
        _write_report(report, folder, messages)
        return
    refuse_map(config.evaluate)
    ensemble = _score_ensemble(config, workdir, out)
    report = {
        "runs": [shown(run) for run in listed(config.evaluate.runs)],
        "models": ensemble.models,
    }
    report |= evaluate_table(ensemble.table, config.evaluate, make_mesh())
    report[_ACQUISITION] = ensemble.acquisition_warnings
    _write_report(report, folder, ensemble.messages)


def _vote_message(votes: dict) -> str:
    return (
        f"votes of neighbours weigh {votes['weight']:.2f}: out of fold, on the split that training "
        f"evaluated, macro F1 {votes['macro_f1']:.4f}, without them "
        f"{votes['macro_f1_scores']:.4f}, by them alone {votes['macro_f1_votes']:.4f}"
    )


def evaluate_arrays(settings: Evaluate, out: Path) -> None:
    """Evaluates anyone's scores against targets; writes OUT/evaluation.json, prints a table.

    With `single_label` every image has one label (`single_label_summary.evaluate`), else several.

    Several arrays of the same images are evaluated as an ensemble: each image's scores are averaged
    with weights that were fitted without its fold. `models` in evaluation.json has the weights
    fitted on all images.

    Args:
      settings: names the .npy files of scores, targets and groups, and the names of labels.
      out: where evaluation.json goes.

    Raises:
      InputError: a file cannot be read, or arrays that do not match.
    """
    refuse_map(settings)
    # A file whose name holds a comma is one file.
    paths = (settings.scores,)
    if not Path(settings.scores).exists():
        paths = listed(settings.scores) or paths
    arrays = []
    for path in paths:
        array, targets = load_scores(path, settings.targets)
        arrays.append(array)
    groups = None
    if settings.groups:
        groups = load_groups(settings.groups, len(targets))
    report = {"scores": settings.scores, "targets": settings.targets}
    names = None
    if settings.labels:
        setting = "--config.evaluate.labels"
        names = label_list.column_names(settings.labels, targets.shape[1], setting)
    if settings.single_label:
        if len(arrays) > 1:
            raise InputError(
                f"config.evaluate.scores names {len(arrays)} files, with "
                "config.evaluate.single_label=True: weights are fitted for several labels alone; "
                "average the arrays yourself, or evaluate them one by one"
            )
        report |= single_label_summary.evaluate(
            arrays[0],
            targets,
            groups,
            label_names=names,
            folds=settings.folds,
            **_bootstrap_settings(settings),
        )
        _write_report(report, out)
        return
    messages = []
    scores = arrays[0]
    if len(arrays) > 1:
        folds = {"folds": settings.folds, "seed": settings.seed, "groups": groups}
        scores, _ = stacking.crossfit_mean(np.stack(arrays), targets, **folds)
        report["models"] = _array_models(paths, arrays, targets, folds, settings)
        for model in report["models"]:
            messages.append(
                f"weight {model['weight']:.3f}: {model['scores']}; "
                f"alone macro F1 {model['macro_f1_crossfit']:.4f} cross-fitted"
            )
    report |= summary.evaluate(
        scores,
        targets,
        groups,
        label_names=names,
        mesh=make_mesh(),
        **_evaluator_settings(settings),
    )
    _write_report(report, out, messages)


def _array_models(
    paths: tuple[str, ...],
    arrays: list[np.ndarray],
    targets: np.ndarray,
    folds: dict,
    settings: Evaluate,
) -> list[dict]:
    """What evaluation.json records of each array of an ensemble."""
    weights = stacking.fit_weights(np.stack(arrays), targets)
    models = []
    for path, scores, weight in zip(paths, arrays, weights, strict=True):
        alone = crossfit(
            scores,
            targets,
            few_positives=settings.few_positives,
            fill_empty=settings.fill_empty,
            **folds,
        )
        models.append(
            {
                "scores": path,
                "weight": float(weight),
                "macro_f1_crossfit": alone["crossfit"]["macro_f1"],
            }
        )
    return models


def _evaluator_settings(settings: Evaluate) -> dict:
    """Keyword arguments of `summary.evaluate`."""
    return {
        "folds": settings.folds,
        "few_positives": settings.few_positives,
        "fill_empty": settings.fill_empty,
        **_bootstrap_settings(settings),
    }


def _bootstrap_settings(settings: Evaluate) -> dict:
    """Keyword arguments of both `evaluate` functions."""
    return {"seed": settings.seed, "replicates": settings.replicates, "level": settings.level}


def _write_report(report: dict, folder: Path, messages: list[str] | None = None) -> None:
    lines = [format_table(report)]
    if "stored_thresholds_fitted_on" in report:
        lines.append(
            f"stored thresholds, fitted on {report['stored_thresholds_fitted_on']}: "
            f"macro F1 {report['macro_f1_stored_thresholds']:.4f}, "
            f"micro F1 {report['micro_f1_stored_thresholds']:.4f}"
        )
    lines += messages or []
    path = folder / "evaluation.json"
    write_json(path, report)
    lines.append(f"wrote {path}")
    print("\n".join(lines))
