"""What every format of table has: its columns, its rows, and what it says of itself."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from hpa_jax.serving import decision
from hpa_jax.serving.predict.rows import Row

FIRST_COLUMNS = ("id", "missing", "note")
SYNTHESIZED = "synthesized"
LAST_COLUMNS = ("label_names", "labels")

# A label's name is one of a person's own choice.
_TAKEN = {*FIRST_COLUMNS, SYNTHESIZED, *LAST_COLUMNS, "embedding"}

NAME_SEPARATOR = "; "
"""Between the names of labels, which may hold spaces and commas."""


class Column(NamedTuple):
    """A column that a table has besides those of every table.

    Attributes:
      name: of the column.
      type: of its values: str, int, float or bool.
    """

    name: str
    type: type


class Decided(NamedTuple):
    """A row of a table.

    Attributes:
      id: of the image, or of the cell.
      extra: values of the extra columns.
      missing: channels that were black for want of files, separated by spaces.
      note: what is unlike the images that the net learned from; empty if nothing is.
      synthesized: channels that a net has made from the others, separated by spaces.
      probabilities: float32 [L].
      decided: bool [L].
      label_names: of the decided labels.
      label_ids: of the decided labels.
      embedding: float32 [E], or None.
    """

    id: str
    extra: tuple
    missing: str
    note: str
    synthesized: str
    probabilities: np.ndarray
    decided: np.ndarray
    label_names: str
    label_ids: str
    embedding: np.ndarray | None


def distinct_names(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Names of columns, each another one and none that is taken."""
    found: list[str] = []
    for name in names:
        while name in taken or name in found:
            name = f"{name} (label)"
        found.append(name)
    return found


@dataclass(frozen=True)
class Content:
    """A table to be written.

    Attributes:
      description: contents of the export's model.json.
      card: the export's README.md, or empty.
      net: a digest that tells the net from others.
      about: what was called and found, as JSON: backend, layout, missing channels; and those that
        were synthesized, if any were.
      count: N, of the images that were scored.
      embedding_size: E; 0: there are none.
      scored: gives the rows of those images in their order, anew at each call.
      note_of: what is unlike the images that the net learned from, of a row.
      extra: columns that this table has besides, after the Id.
    """

    description: Mapping[str, Any]
    card: str
    net: str
    about: Mapping[str, Any]
    count: int
    embedding_size: int
    scored: Callable[[], Iterator[Row]]
    note_of: Callable[[Row], str]
    extra: tuple[Column, ...] = ()

    @cached_property
    def names(self) -> list[str]:
        return decision.label_names(self.description)

    @cached_property
    def ids(self) -> list[int]:
        return decision.label_ids(self.description)

    @cached_property
    def label_columns(self) -> list[str]:
        """The columns of probabilities: the labels' names, each another one."""
        taken = {*_TAKEN, *(column.name for column in self.extra), *self.feature_columns}
        return distinct_names(self.names, taken)

    @cached_property
    def feature_columns(self) -> list[str]:
        """Names of the values of an embedding."""
        return [f"feature_{number}" for number in range(self.embedding_size)]

    @property
    def first_columns(self) -> tuple[str, ...]:
        """Those before the labels; without a synthesized channel there is no column of them."""
        if self.about.get(SYNTHESIZED):
            return (*FIRST_COLUMNS, SYNTHESIZED)
        return FIRST_COLUMNS

    def rows(self) -> Iterator[Decided]:
        """The rows of the table, in the order of Ids."""
        missing = " ".join(self.about["missing"])
        synthesized = " ".join(self.about.get(SYNTHESIZED, ()))
        for row in self.scored():
            decided = decision.decide(self.description, row.probabilities[None])[0]
            positions = np.flatnonzero(decided)
            yield Decided(
                id=row.id,
                extra=row.extra,
                missing=missing,
                note=self.note_of(row),
                synthesized=synthesized,
                probabilities=row.probabilities,
                decided=decided,
                label_names=NAME_SEPARATOR.join(self.names[k] for k in positions),
                label_ids=" ".join(str(self.ids[k]) for k in positions),
                embedding=row.embedding,
            )
