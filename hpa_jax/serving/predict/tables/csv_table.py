"""Scores as a csv: Id, one probability a label, the labels that were decided."""

from collections.abc import Sequence
from pathlib import Path

from hpa_jax.files import complete_file, write_csv_lines
from hpa_jax.serving.predict.tables.content import FIRST_COLUMNS, LAST_COLUMNS, Content, Decided

BESIDE = ""
NEEDS = ()
EMBEDDINGS = False


def write(path: Path, content: Content) -> None:
    """Writes the table, completely or not at all."""
    first = content.first_columns
    header = [*first, *content.label_columns, *LAST_COLUMNS]
    with complete_file(path) as hidden, open(hidden, "w", encoding="utf-8", newline="") as file:
        write_csv_lines(file, header, (_cells(row, first) for row in content.rows()))


def _cells(row: Decided, first: Sequence[str]) -> list[str]:
    facts = [getattr(row, name) for name in first]
    probabilities = [f"{probability:.6g}" for probability in row.probabilities]
    return [*facts, *probabilities, row.label_names, row.label_ids]


def is_ours(path: Path) -> bool:
    """Whether a file is such a table, or the predictions.csv of a dataset."""
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline().rstrip("\n").split(",")
    return header[0] == FIRST_COLUMNS[0] and header[-1] == LAST_COLUMNS[-1]
