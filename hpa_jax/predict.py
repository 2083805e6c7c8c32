"""A table of scores and labels for every field of a prepared dataset."""

import csv
import io
from pathlib import Path

from hpa_jax import assembly
from hpa_jax.config import Config
from hpa_jax.labels import LABELS
from hpa_jax.predictor import Predictor
from hpa_jax.workdir import write_atomically


def predict(config: Config, workdir: Path) -> None:
    """Scores `config.data.eval_split` and writes WORKDIR/predictions.csv.

    Columns: `id`; one score a label, 0 to 1, headed by the label's name; `labels`, the ids of the labels whose score is
    above their threshold (those of thresholds.json), separated by spaces as in the challenge's csv files.
    """
    predictor = Predictor(config, workdir)
    ids, scores, _ = predictor.score(assembly.open_split(config, config.data.eval_split))
    label_ids = config.label_ids()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", *(LABELS[i] for i in label_ids), "labels"])
    for field_id, row in zip(ids, scores, strict=True):
        chosen = [str(i) for i, above in zip(label_ids, row > predictor.thresholds, strict=True) if above]
        table.writerow([field_id, *(f"{score:.6g}" for score in row), " ".join(chosen)])
    path = workdir / "predictions.csv"
    write_atomically(path, text.getvalue())
    where = predictor.thresholds_split
    print(
        f"wrote {path}: {len(ids)} fields, thresholds " + (f"fitted on {where}" if where else "0.5 (none were fitted)")
    )
