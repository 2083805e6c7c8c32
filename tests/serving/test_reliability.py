"""How sure a score is: counts of stored scores, which come with an export."""

import numpy as np

from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.serving.reliability import BINS, calibration_of


def table(scores, targets):
    images, labels = scores.shape
    whole = np.zeros(images, np.int64)
    return ScoreTable(
        ids=[str(number) for number in range(images)],
        scores=scores,
        targets=targets,
        groups=whole,
        folds=whole,
        source=whole.astype(np.int32),
        source_names=("made",),
        label_ids=tuple(range(labels)),
        split="test",
        checkpoint=1,
        tta="whole image",
        key="",
        thresholds=np.full(labels, 0.5),
    )


def test_counts_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    scores = rng.random((400, 3)).astype(np.float32)
    scores[0] = (0, 1, 0.1)
    targets = (rng.random((400, 3)) < scores).astype(np.uint8)
    found = calibration_of(table(scores, targets))
    assert found["split"] == "test" and found["images"] == 400
    total = np.zeros((3, BINS), int)
    positives = np.zeros((3, BINS), int)
    for image in range(400):
        for label in range(3):
            # The page looks for the first upper end that is not below the score.
            score = float(scores[image, label])
            place = next(number for number, end in enumerate(found["edges"]) if score <= end)
            total[label, place] += 1
            positives[label, place] += targets[image, label]
    assert found["total"] == total.tolist()
    assert found["positives"] == positives.tolist()
