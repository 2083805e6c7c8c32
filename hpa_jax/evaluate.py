"""Scores and figures of a net on one part of a dataset.

While training, only integer counts leave the devices (`evaluate_counts`). A finished run is evaluated from its scores,
by the evaluator that takes anyone's (scores.py), and its thresholds, fitted on the part that training evaluated, are
applied to any other part.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from hpa_jax import assembly, metrics
from hpa_jax.config import Config
from hpa_jax.data import eval_batches
from hpa_jax.fields import Fields
from hpa_jax.mesh import make_mesh, put_batch, replicated
from hpa_jax.predictor import Predictor
from hpa_jax.scores import evaluate_scores, format_table, load_scores
from hpa_jax.steps import make_score_step
from hpa_jax.workdir import write_json


def make_count_step(config: Config, mesh: Mesh) -> Callable:
    """Jitted: the counts so far, variables and a batch, to the counts with that batch. Only counts cross devices."""
    score_step = make_score_step(assembly.make_model(config), preparation=assembly.preparation(config))
    grid = metrics.thresholds()

    def count_step(counts, variables, batch):
        scores = jax.nn.sigmoid(score_step(variables, batch["image"]))
        return counts + metrics.score_counts(metrics.bin_of(scores, grid), batch["targets"], batch["mask"])

    return jax.jit(count_step, donate_argnums=0, out_shardings=replicated(mesh))


def evaluate_counts(
    count_step: Callable, variables: dict, config: Config, fields: Fields, mesh: Mesh, stop: Callable[[], bool]
) -> metrics.ScoreCounts | None:
    """Counts over all `fields`, on the devices; None if `stop()` said so on the way."""
    empty = np.zeros((len(config.label_ids()), metrics.BINS + 2), np.int32)
    counts = jax.device_put(metrics.ScoreCounts(empty, empty.copy()), replicated(mesh))
    for batch in eval_batches(fields, batch_size=config.data.batch_size, threads=config.data.threads):
        if stop():
            return None
        arrays = {name: batch[name] for name in ("image", "targets", "mask")}
        counts = count_step(counts, variables, put_batch(arrays, mesh))
    return jax.device_get(counts)


def evaluate_run(config: Config, workdir: Path) -> None:
    """Evaluates a run's checkpoint on `config.data.eval_split`; writes evaluation.json and prints a table."""
    predictor = Predictor(config, workdir)
    split = config.data.eval_split
    _, scores, targets = predictor.score(assembly.open_split(config, split))
    report = {"checkpoint": predictor.step, "dataset": config.data.name, "split": split}
    report |= evaluate_scores(
        scores,
        targets,
        label_ids=config.label_ids(),
        folds=config.evaluate.folds,
        seed=config.evaluate.seed,
        mesh=predictor.mesh,
    )
    stored = ""
    if predictor.thresholds_split not in (None, split):
        figures = metrics.ratios(metrics.decisions(scores > predictor.thresholds, targets > 0))
        report["macro_f1_stored_thresholds"] = figures["macro_f1"]
        report["micro_f1_stored_thresholds"] = figures["micro_f1"]
        report["stored_thresholds_fitted_on"] = predictor.thresholds_split
        stored = (
            f"thresholds fitted on {predictor.thresholds_split}, stored with the checkpoint: "
            f"macro F1 {figures['macro_f1']:.4f}, micro F1 {figures['micro_f1']:.4f}\n"
        )
    _tell(report, workdir, stored)


def evaluate_arrays(config: Config, workdir: Path) -> None:
    """Evaluates anyone's scores against targets; writes evaluation.json and prints a table."""
    scores, targets = load_scores(config.evaluate.scores, config.evaluate.targets)
    report = {"scores": config.evaluate.scores, "targets": config.evaluate.targets}
    report |= evaluate_scores(scores, targets, folds=config.evaluate.folds, seed=config.evaluate.seed, mesh=make_mesh())
    _tell(report, workdir)


def _tell(report: dict, workdir: Path, more: str = "") -> None:
    path = workdir / "evaluation.json"
    write_json(path, report)
    print(f"{format_table(report)}\n{more}wrote {path}")
