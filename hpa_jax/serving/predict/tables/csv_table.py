"""Scores as a csv: Id, one probability a label, the labels that were decided."""

import csv
from pathlib import Path

from hpa_jax.files import complete_file, csv_cell
from hpa_jax.serving.predict.tables.content import FIRST_COLUMNS, LAST_COLUMNS, Content

BESIDE = ""
NEEDS = ()
EMBEDDINGS = False


def write(path: Path, content: Content) -> None:
    """Writes the table, completely or not at all."""
    with complete_file(path) as hidden, open(hidden, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        header = [*FIRST_COLUMNS, *content.label_columns, *LAST_COLUMNS]
        writer.writerow(map(csv_cell, header))
        for row in content.rows():
            cells = [row.id, row.missing, row.note]
            cells += [f"{probability:.6g}" for probability in row.probabilities]
            cells += [row.label_names, row.label_ids]
            writer.writerow(map(csv_cell, cells))


def is_ours(path: Path) -> bool:
    """Whether a file is such a table, or the predictions.csv of a dataset."""
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline().rstrip("\n").split(",")
    return header[0] == FIRST_COLUMNS[0] and header[-1] == LAST_COLUMNS[-1]
