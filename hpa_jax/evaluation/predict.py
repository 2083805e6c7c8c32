"""A table of scores and labels for every image of a prepared dataset."""

from pathlib import Path

import numpy as np

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.evaluation.evaluate import score_run
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.files import write_csv


def predict(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Scores `config.data.eval_split` with one run or several and writes OUT/predictions.csv.

    Arguments as for `hpa_jax.evaluation.evaluate.score_run`.

    Columns: `id`, as the dataset's source gave it to the image; with several datasets `dataset`;
    one score a label, 0 to 1, headed by the label's name; `labels`, the ids of the labels whose
    score is above their threshold, separated by spaces as in the challenge's csv files. With
    config.evaluate.fill_empty an image above no threshold has the label that comes nearest to its
    own. Where every image has one label, `labels` is the one with the largest score.

    Raises:
      InputError: as of `score_run`, or config.predict.cells: a dataset is not scored cell by cell.
    """
    if config.predict.cells:
        raise InputError(
            "config.predict.cells is for a folder of images: give config.predict.images too"
        )
    table = score_run(config, workdir, out, labels_needed=False)
    decided = table.decide(fill_empty=config.evaluate.fill_empty)
    path = (out or workdir) / "predictions.csv"
    header, rows = _csv_table(table, decided)
    write_csv(path, header, rows)
    print(f"wrote {path}: {_summary(table, decided)}")


def _csv_table(table: ScoreTable, decided: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of predictions.csv."""
    several_sources = len(table.source_names) > 1
    header = ["id"]
    if several_sources:
        header.append("dataset")
    header += table.label_names
    header.append("labels")

    label_ids = np.array(table.label_ids)
    rows = []
    for image_id, source, scores, predicted in zip(
        table.original_ids, table.source, table.scores, decided, strict=True
    ):
        row = [image_id]
        if several_sources:
            row.append(table.source_names[source])
        row += [f"{score:.6g}" for score in scores]
        row.append(" ".join(map(str, label_ids[predicted])))
        rows.append(row)
    return header, rows


def _summary(table: ScoreTable, decided: np.ndarray) -> str:
    """What was written, for the terminal."""
    images = f"{len(table.ids)} images of {table.split}, {table.tta}"
    if table.single_label:
        return f"{images}, the most probable label of each"
    thresholds = "0.5 (none were fitted)"
    if table.thresholds_split:
        thresholds = f"fitted on {table.thresholds_split}"
    text = f"{images}, thresholds {thresholds}"
    empty = int((~decided.any(axis=1)).sum())
    if empty:
        text += (
            f"; {empty} images above none of them (config.evaluate.fill_empty gives them a label)"
        )
    return text
