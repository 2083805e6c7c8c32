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
from tqdm import tqdm

from hpa_jax import assembly, metrics
from hpa_jax.checkpoint import Checkpoints
from hpa_jax.config import Config
from hpa_jax.data import Fields, eval_batches
from hpa_jax.mesh import by_field, check_batch_size, make_mesh, put_batch, replicated
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


class Predictor:
    """A checkpoint of a run, ready to score fields.

    Attributes:
      step: of the checkpoint.
      thresholds: float `[L]`, fitted on `thresholds_split`; 0.5 where the checkpoint was saved without an evaluation.
      thresholds_split: the part they were fitted on, or None.
      variables: `{'params', 'batch_stats'}` on the devices.
    """

    def __init__(self, config: Config, workdir: Path):
        self.config, self.mesh = config, make_mesh()
        check_batch_size(config.data.batch_size, self.mesh)
        checkpoints = Checkpoints(workdir / "checkpoints", metric=config.checkpoint.metric)
        self.step = checkpoints.choose(config.evaluate.checkpoint)
        figures = checkpoints.figures(self.step)
        self.thresholds = np.array(figures.get("thresholds", [0.5] * len(config.label_ids())))
        self.thresholds_split = figures.get("thresholds_split")
        state, _ = assembly.start_state(config, self.mesh, steps=1)
        state = checkpoints.restore(self.step, state)
        checkpoints.close()
        self.variables = {"params": state.params, "batch_stats": state.batch_stats}

    def score(self, fields: Fields) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Ids, scores `float32 [N, L]` and targets `uint8 [N, L]` of all fields, in their order."""
        score_step = make_score_step(assembly.make_model(self.config), preparation=assembly.preparation(self.config))
        score = jax.jit(lambda v, images: jax.nn.sigmoid(score_step(v, images)), out_shardings=by_field(self.mesh))
        ids, scores, targets = [], [], []
        size = self.config.data.batch_size
        with tqdm(total=len(fields), unit="field", desc="score", dynamic_ncols=True, disable=None) as bar:
            for batch in eval_batches(fields, batch_size=size, threads=self.config.data.threads):
                images = put_batch({"image": batch["image"]}, self.mesh)["image"]
                mask = batch["mask"]
                scores.append(np.asarray(score(self.variables, images))[mask])
                ids += [str(i) for i, real in zip(batch["id"], mask, strict=True) if real]
                targets.append(batch["targets"][mask])
                bar.update(int(mask.sum()))
        return ids, np.concatenate(scores), np.concatenate(targets)


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
    if predictor.thresholds_split not in (None, split):
        figures = metrics.ratios(metrics.decisions(scores > predictor.thresholds, targets > 0))
        report["macro_f1_stored_thresholds"] = figures["macro_f1"]
        report["micro_f1_stored_thresholds"] = figures["micro_f1"]
        report["stored_thresholds_fitted_on"] = predictor.thresholds_split
    write_json(workdir / "evaluation.json", report)
    print(format_table(report))
    print(f"wrote {workdir / 'evaluation.json'}")


def evaluate_arrays(config: Config, workdir: Path) -> None:
    """Evaluates anyone's scores against targets; writes evaluation.json and prints a table."""
    scores, targets = load_scores(config.evaluate.scores, config.evaluate.targets)
    report = {"scores": config.evaluate.scores, "targets": config.evaluate.targets}
    report |= evaluate_scores(scores, targets, folds=config.evaluate.folds, seed=config.evaluate.seed, mesh=make_mesh())
    write_json(workdir / "evaluation.json", report)
    print(format_table(report))
    print(f"wrote {workdir / 'evaluation.json'}")
