"""How sure a score is: how often images with such a score had the label in the evaluation.

It comes from scores that the run has stored (`--mode=evaluate`), of this checkpoint, of images
that the net was not trained on. A page shows it beside each score.
"""

from pathlib import Path

from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.evaluation.split_scores import SplitScores
from hpa_jax.metrics.calibration import reliability

BINS = 10


def stored_calibration(predictor: Predictor, workdir: Path, trained_on: str) -> dict | None:
    """The counts of one split, or None where the run has no such scores.

    Args:
      predictor: of the checkpoint, without test-time augmentation.
      workdir: the run's folder.
      trained_on: the split that the net was trained on, which would flatter it.
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
            return calibration_of(table)
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
