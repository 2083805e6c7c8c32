"""The numbers of a page as csv and JSON.

Both are written from the same rows, a csv for each table and one JSON file with all of them, so
that they cannot differ. The templates of a page read the same tables.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpa_jax.files import csv_text, write_atomically


class Table(NamedTuple):
    """Rows of text, numbers, booleans or None, with one value for each column.

    Attributes:
      name: of the csv file, without its ending.
      columns: keys of the columns.
      rows: one sequence of values each.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields the rows as dicts."""
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=True))

    def column(self, name: str) -> list[Any]:
        """Returns the values of one column."""
        position = list(self.columns).index(name)
        return [row[position] for row in self.rows]

    def where(self, name: str, value: Any) -> "Table":
        """Returns the table of the rows that have `value` in a column."""
        position = list(self.columns).index(name)
        return self._replace(rows=[row for row in self.rows if row[position] == value])

    def to_csv(self) -> str:
        """The text of the csv file; what is not defined is empty."""
        # The writer leaves None empty.
        return csv_text(self.columns, self.rows)


def write_tables(folder: Path, tables: Iterable[Table]) -> list[str]:
    """Writes FOLDER/NAME.csv for each table and FOLDER/report.json with a list of objects for each.

    Returns:
      The names of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    records = {}
    for table in tables:
        plain = table._replace(rows=[list(map(_plain, row)) for row in table.rows])
        texts[f"{table.name}.csv"] = plain.to_csv()
        records[table.name] = list(plain.records())
    # NaN is not JSON; `_plain` leaves none. It is the first: by it the others are known as ours
    # (hpa_jax/folders/results.py), also where a kill comes before all are written.
    text = json.dumps(records, indent=1, allow_nan=False)
    write_atomically(folder / "report.json", text + "\n")
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [*texts, "report.json"]


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's, with the digits that its type has; NaN and infinity as None."""
    if isinstance(value, np.float32):
        # Through its own digits: 0.1 in float32 stays 0.1, not 0.10000000149.
        value = float(str(value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
