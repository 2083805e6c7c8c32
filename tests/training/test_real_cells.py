"""configs/hep2.py for a few steps on real cells, through every door from the zip to the metrics."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from hpa_jax.evaluation import score_table
from tfds_builder.hpa.__main__ import main as build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("HPA_HEP2_DIR" not in os.environ, reason="HPA_HEP2_DIR is not set"),
]

# Of each of the six patterns.
CELLS = {"train": 8, "validation": 3, "test": 6}


def few_cells(folder):
    """Writes cells of each pattern and split to a folder; returns the rows of the test split."""
    chosen = {}
    with zipfile.ZipFile(Path(os.environ["HPA_HEP2_DIR"]) / "hep2.zip") as archive:
        header, *lines = archive.read("labels.csv").decode().splitlines()
        for line in lines:
            _, pattern, split, _ = line.split(",")
            rows = chosen.setdefault((pattern, split), [])
            if len(rows) < CELLS[split]:
                rows.append(line)
        kept = [line for rows in chosen.values() for line in rows]
        for line in kept:
            archive.extract(f"images/{line.split(',')[0]}_green.png", folder)
    (folder / "labels.csv").write_text("\n".join([header, *kept]) + "\n")
    return [line.split(",") for line in kept if ",test," in line]


def test_real_cells_of_six_patterns(run_quickly, tmp_path):
    test_rows = few_cells(tmp_path / "cells")
    arguments = [
        "--config=folder",
        "--name=cells",
        f"--manual_dir={tmp_path / 'cells'}",
        f"--data_dir={tmp_path}",
        "--pattern=images/{id}_{channel}.png",
        "--channels=green=green",
        "--label_column=pattern",
        "--labels=csv",
        "--split_column=split",
        "--group_column=inferred_specimen",
        "--near_duplicates=off",
        "--workers=1",
    ]
    assert build(arguments) == 0
    done = run_quickly(
        "--config=configs/hep2.py",
        f"--config.data.data_dir={tmp_path}",
        "--config.data.name=cells",
        "--config.data.image_size=32",
        "--config.model.name=densenet_tiny",
        "--config.train.steps=4",
        "--config.train.eval_every=2",
        "--config.train.ema_batches=1",
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    done = run_quickly(
        "--mode=evaluate", f"--workdir={tmp_path / 'run'}", "--config.data.eval_split=test"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    patterns = sorted({pattern for _, pattern, _, _ in test_rows})
    assert [row["name"] for row in report["per_label"]] == patterns
    assert report["images"] == 36 == len(test_rows)
    assert report["groups"] == len({specimen for *_, specimen in test_rows})

    table = score_table.load(tmp_path / "run" / "scores" / "test.npz")
    pattern_of = {image_id: pattern for image_id, pattern, _, _ in test_rows}
    actual = [patterns.index(pattern_of[image_id]) for image_id in table.original_ids]
    predicted = table.scores.argmax(1)
    expected = sklearn_metrics.confusion_matrix(actual, predicted, labels=range(6))
    np.testing.assert_array_equal(report["confusion"], expected)
    balanced = sklearn_metrics.balanced_accuracy_score(actual, predicted)
    assert report["mean_class_accuracy"] == pytest.approx(balanced, abs=1e-12)
