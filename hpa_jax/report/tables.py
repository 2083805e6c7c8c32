"""The figures of a page as csv and JSON.

Unusual: both are written from the same rows, a csv a table and one JSON file of all, so that they cannot differ.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.files import write_atomically


class Table(NamedTuple):
    """Rows of text, numbers, truth values or None, a value for each column."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence]


def write_tables(folder: Path, tables: Iterable[Table]) -> list[str]:
    """Writes FOLDER/NAME.csv for each table and FOLDER/report.json, a list of objects for each; the files' names.

    A figure that is not defined is empty in a csv and null in JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole, names = {}, []
    for table in tables:
        rows = [[_plain(value) for value in row] for row in table.rows]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([["" if value is None else value for value in row] for row in rows])
        write_atomically(folder / f"{table.name}.csv", out.getvalue())
        names.append(f"{table.name}.csv")
        whole[table.name] = [dict(zip(table.columns, row, strict=True)) for row in rows]
    write_atomically(folder / "report.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return [*names, "report.json"]


def _plain(value):
    """A NumPy number as Python's, with the digits that its type has; what is no number as None."""
    if isinstance(value, np.float32):
        value = float(str(value))
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
