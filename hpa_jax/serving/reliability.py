"""How sure a score is: how often images with such a score had the label in the evaluation.

Also the temperature that makes scores as sure as they should be. Both come from scores that the run
has stored (`--mode=evaluate`), of this checkpoint, of images that the net was not trained on. A
page shows the first beside each score.
"""

import dataclasses
from pathlib import Path

from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.evaluation.split_scores import SplitScores
from hpa_jax.metrics.calibration import reliability
from hpa_jax.metrics.temperature import apply_temperature, fit_temperature

BINS = 10


def stored_temperature(predictor: Predictor) -> float:
    """The temperature of the scores that the run has stored of the split of its thresholds.

    Where images have one label each there are none: it is the split that training evaluated.

    Args:
      predictor: of the checkpoint, without test-time augmentation.

    Raises:
      InputError: there are no such scores.
    """
    split = predictor.thresholds_split
    table = SplitScores(predictor).stored(split) if split else None
    if table is None:
        split = split or "validation"
        raise InputError(
            f"config.export.temperature=True: {predictor.workdir} has no scores of {split} of "
            f"checkpoint {predictor.step}, without test-time augmentation, to fit it on; run "
            f"--mode=evaluate --config.data.eval_split={split} first"
        )
    return fit_temperature(table.scores, table.targets, single_label=predictor.single_label)


def stored_calibration(
    predictor: Predictor, workdir: Path, trained_on: str, temperature: float = 1.0
) -> dict | None:
    """The counts of one split, or None where the run has no such scores.

    Args:
      predictor: of the checkpoint, without test-time augmentation.
      workdir: the run's folder.
      trained_on: the split that the net was trained on, which would flatter it.
      temperature: of the scores that are shown.
    """
    splits = []
    for path in sorted((workdir / "scores").glob("*.npz")):
        if path.stem != trained_on:
            splits.append(path.stem)
    # Thresholds, and often the checkpoint, were chosen on theirs: another split says more.
    fitted_on = predictor.thresholds_split
    kept = SplitScores(predictor)
    for split in sorted(splits, key=lambda name: (name == fitted_on, name != "test")):
        table = kept.stored(split)
        if table is not None and len(table.scores):
            scores = table.scores
            if temperature != 1:
                scores = apply_temperature(scores, temperature, single_label=predictor.single_label)
            return calibration_of(dataclasses.replace(table, scores=scores))
    return None


def calibration_of(table: ScoreTable) -> dict:
    """Counts by label and score.

    Returns:
      split: of the images; images: how many; edges: the upper ends of the bins of scores, BINS of
      equal width, each holding its upper end; total and positives: of each label by bin, images
      with such a score, and those of them that have the label.
    """
    counts = reliability(table.scores, table.targets, BINS)
    return {
        "split": table.split,
        "images": len(table.scores),
        "edges": [(number + 1) / BINS for number in range(BINS)],
        "total": counts.total.tolist(),
        "positives": counts.positives.tolist(),
    }
