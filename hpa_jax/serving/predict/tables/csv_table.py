"""Scores as a csv: Id, one probability a label, the labels that were decided.

A table of cells has their places after the Id, and the embedding's values as the last columns.
"""

from collections.abc import Sequence
from pathlib import Path

from hpa_jax.files import complete_file, write_csv_lines
from hpa_jax.serving.predict.tables.content import FIRST_COLUMNS, LAST_COLUMNS, Content, Decided

BESIDE = ""
NEEDS = ()
EMBEDDINGS = False

_FIRST_FEATURE = "feature_0"


def write(path: Path, content: Content) -> None:
    """Writes the table, completely or not at all."""
    id_column, *facts = content.first_columns
    header = [id_column, *(column.name for column in content.extra), *facts]
    header += [*content.label_columns, *LAST_COLUMNS, *content.feature_columns]
    with complete_file(path) as hidden, open(hidden, "w", encoding="utf-8", newline="") as file:
        write_csv_lines(file, header, (_cells(row, facts) for row in content.rows()))


def _cells(row: Decided, facts: Sequence[str]) -> list:
    extra = [int(value) if isinstance(value, bool) else value for value in row.extra]
    probabilities = [f"{probability:.6g}" for probability in row.probabilities]
    features = []
    if row.embedding is not None:
        features = [f"{value:.6g}" for value in row.embedding]
    first = [row.id, *extra, *(getattr(row, name) for name in facts)]
    return [*first, *probabilities, row.label_names, row.label_ids, *features]


def is_ours(path: Path) -> bool:
    """Whether a file is such a table, or the predictions.csv of a dataset."""
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline().rstrip("\n").split(",")
    if _FIRST_FEATURE in header:
        header = header[: header.index(_FIRST_FEATURE)]
    return header[0] == FIRST_COLUMNS[0] and header[-1] == LAST_COLUMNS[-1]
