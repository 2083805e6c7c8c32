"""Tables of scores put together: the folds of a model one below the other, and several models' fields side by side.

Fields are the same where dataset and Id are; nothing is matched by position.
"""

from dataclasses import replace

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.evaluation.score_table import ScoreTable

_BY_FIELD = ("scores", "targets", "groups", "folds")


def taken(table: ScoreTable, rows: np.ndarray) -> ScoreTable:
    """The fields at `rows` (int `[K]`), in that order."""
    arrays = {name: getattr(table, name)[rows] for name in (*_BY_FIELD, "source")}
    return replace(table, ids=[table.ids[row] for row in rows], **arrays)


def averaged(tables: list[ScoreTable]) -> ScoreTable:
    """Every field that one of the tables has, once, with the mean of its scores over the tables that have it.

    Of folds that share no field this is all of them one below the other. What is one value a table (checkpoint,
    thresholds, ...) is the first one's.

    Raises:
      InputError: a field that bears other labels in one table than in another.
    """
    whole = _stacked(tables)
    row_of: dict[tuple[str, str], int] = {}
    rows = np.array([row_of.setdefault(name, len(row_of)) for name in whole.names()])
    first = np.empty(len(row_of), np.int64)
    first[rows[::-1]] = np.arange(len(rows))[
        ::-1
    ]  # the last of equal writes stays: each field's first appearance
    if (different := (whole.targets != whole.targets[first[rows]]).any(axis=1)).any():
        raise InputError(
            f"field {whole.ids[int(np.argmax(different))]!r} bears other labels in the dataset of one run than in "
            "that of another: evaluate all runs on the same build"
        )
    total = np.zeros((len(row_of), whole.scores.shape[1]))
    np.add.at(total, rows, whole.scores)
    return replace(
        taken(whole, first), scores=(total / np.bincount(rows)[:, None]).astype(np.float32)
    )


def _stacked(tables: list[ScoreTable]) -> ScoreTable:
    """Tables one below the other, their sources by name."""
    names = tuple(dict.fromkeys(name for table in tables for name in table.source_names))
    source = [
        np.array([names.index(name) for name in t.source_names], np.int32)[t.source] for t in tables
    ]
    arrays = {
        name: np.concatenate([getattr(table, name) for table in tables]) for name in _BY_FIELD
    }
    ids = [field_id for table in tables for field_id in table.ids]
    return replace(tables[0], ids=ids, source=np.concatenate(source), source_names=names, **arrays)


def shared(tables: list[ScoreTable]) -> list[ScoreTable]:
    """Each table's rows of the fields that all of them have, in the order of the first table.

    Raises:
      InputError: there is none, or one bears other labels in one table than in another.
    """
    rows_of = [{name: row for row, name in enumerate(table.names())} for table in tables]
    names = [name for name in rows_of[0] if all(name in rows for rows in rows_of)]
    if not names:
        raise InputError(
            "the runs have no field in common: give each model the same folds and datasets"
        )
    matched = [
        taken(table, np.array([rows[name] for name in names]))
        for table, rows in zip(tables, rows_of, strict=True)
    ]
    averaged(matched)  # looks at the labels
    return matched
