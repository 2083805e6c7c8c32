"""The two tables of a prediction cell by cell: a row a cell, and beside it a row an image."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpa_jax.files import complete_file, write_csv_lines
from hpa_jax.serving import decision, kinds
from hpa_jax.serving.predict.cells import pooling
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.tables.content import (
    NAME_SEPARATOR,
    Column,
    Content,
    distinct_names,
)

PLACE_COLUMNS = (
    Column("field", str),
    Column("cell", int),
    Column("area_px", int),
    Column("centroid_x", float),
    Column("centroid_y", float),
    Column("left", int),
    Column("top", int),
    Column("right", int),
    Column("bottom", int),
    Column("touches_border", bool),
    Column("nucleus_area_px", int),
)
"""Of a table of cells, after the Id: the image, and what `cell_table.Cell` has."""

_FIELD_COLUMNS = (
    "id",
    "cells",
    "border_cells",
    "left_out",
    "missing",
    "note",
    "label_names",
    "labels",
    "cells_label_names",
    "cells_labels",
    "divergence",
    "most_divergent",
)


def cell_rows(row: Row) -> Iterator[Row]:
    """The rows of an image's cells: `ID:NUMBER`, and where each lies."""
    found = row.cells
    for at, cell in enumerate(found.cells):
        place = cell._replace(touches_border=bool(cell.touches_border))
        yield replace(
            row,
            id=f"{row.id}:{cell.cell}",
            probabilities=found.probabilities[at],
            embedding=None if found.embeddings is None else found.embeddings[at],
            cells=None,
            extra=(row.id, *place),
        )


def is_fields_table(path: Path) -> bool:
    """Whether a file is a table of images of this program."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(",".join(_FIELD_COLUMNS))


def takes_images(description: Mapping[str, Any]) -> bool:
    """Whether a net scores entire images too; one that learned from cells does not."""
    return description.get("kind", kinds.LABELS) == kinds.LABELS


def write_fields(
    path: Path, content: Content, rows: Iterable[Row], note_of: Callable[[Row], str], how: str
) -> None:
    """Writes a row for each image: its own scores, those pooled from its cells, how they differ.

    Args:
      path: of the table.
      content: of the table of cells, which knows labels and net.
      rows: of the images that were scored.
      note_of: what is unlike the images that the net learned from, of a row.
      how: scores are pooled, one of `request.POOLS`.
    """
    header = [*_FIELD_COLUMNS, *_label_columns(content)]
    missing = " ".join(content.about["missing"])
    with complete_file(path) as hidden, open(hidden, "w", encoding="utf-8", newline="") as file:
        lines = (_line(content, row, missing, note_of(row), how) for row in rows)
        write_csv_lines(file, header, lines)


def _label_columns(content: Content) -> list[str]:
    """Four columns for each label."""
    wanted = []
    for name in content.names:
        wanted += [name, f"{name} (cells)", f"{name} (std)", f"{name} (fraction)"]
    return distinct_names(wanted, _FIELD_COLUMNS)


def _line(content: Content, row: Row, missing: str, note: str, how: str) -> list:
    found = row.cells
    description = content.description
    border = sum(cell.touches_border for cell in found.cells)
    first = [row.id, len(found.cells), border, found.left_out, missing, note]
    if takes_images(description):
        names, ids = _decided(content, row.probabilities)
        own = [f"{score:.6g}" for score in row.probabilities]
    else:
        names, ids = "", ""
        own = [""] * len(row.probabilities)
    if not found.cells:
        values = []
        for score in own:
            values += [score, "", "", ""]
        return [*first, names, ids, "", "", "", "", *values]
    pooled = pooling.pool(found.probabilities, how, found.attention)
    cells_names, cells_ids = _decided(content, pooled)
    divergence = pooling.divergence(found.probabilities)
    most = int(divergence.argmax())
    std = pooling.spread(found.probabilities)
    fraction = decision.decide(description, found.probabilities).mean(axis=0)
    values = []
    for own_score, *others in zip(own, pooled, std, fraction, strict=True):
        values += [own_score, *(f"{value:.6g}" for value in others)]
    differs = [f"{divergence[most]:.6g}", content.names[most]]
    return [*first, names, ids, cells_names, cells_ids, *differs, *values]


def _decided(content: Content, probabilities: np.ndarray) -> tuple[str, str]:
    """Names and ids of the labels that scores float32 [L] decide on."""
    decided = decision.decide(content.description, probabilities[None])[0]
    positions = np.flatnonzero(decided)
    names = NAME_SEPARATOR.join(content.names[k] for k in positions)
    return names, " ".join(str(content.ids[k]) for k in positions)
