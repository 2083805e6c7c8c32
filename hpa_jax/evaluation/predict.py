"""A table of scores and labels for every field of a prepared dataset."""

import csv
import io
from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.evaluation.evaluate import score_table
from hpa_jax.files import write_atomically
from hpa_jax.labels import LABELS
from hpa_jax.metrics.thresholds import decide


def predict(config: Config, workdir: Path) -> None:
    """Scores `config.data.eval_split` with a run, or with several, and writes WORKDIR/predictions.csv.

    Columns: `id`; with several datasets `dataset`; one score a label, 0 to 1, headed by the label's name; `labels`, the
    ids of the labels whose score is above their threshold, separated by spaces as in the challenge's csv files. With
    config.evaluate.fill_empty a field above none has the one that comes nearest to its threshold.
    """
    table = score_table(config, workdir)
    several = len(table.source_names) > 1
    decided = decide(table.scores, table.thresholds, fill_empty=config.evaluate.fill_empty)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", *["dataset"] * several, *(LABELS[i] for i in table.label_ids), "labels"])
    for (source, field_id), scores, chosen in zip(
        table.names(), table.scores, decided, strict=True
    ):
        labels = " ".join(str(i) for i, yes in zip(table.label_ids, chosen, strict=True) if yes)
        rows.writerow(
            [field_id, *[source] * several, *(f"{score:.6g}" for score in scores), labels]
        )
    path = workdir / "predictions.csv"
    write_atomically(path, text.getvalue())
    where = (
        f"fitted on {table.thresholds_split}"
        if table.thresholds_split
        else "0.5 (none were fitted)"
    )
    empty = int((~decided.any(axis=1)).sum())
    without = (
        f"; {empty} fields above none of them (config.evaluate.fill_empty gives them one)"
        if empty
        else ""
    )
    print(
        f"wrote {path}: {len(table.ids)} fields of {table.split}, {table.views}, thresholds {where}{without}"
    )
