"""Which columns of a csv are read, and a message that shows what is there where they are not.

A column is found by its name as it was given, or else in another case (`ID` for `Id`). Labels are
in one column, or each label has a column of its own with 1 and 0 in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hpa_jax.errors import InputError
from tfds_builder.hpa.files.csv_text import shown_columns

DEFAULT_ID = "Id"
DEFAULT_LABELS = "Target"
# Where the default is not there.
_OTHER_NAMES = {DEFAULT_LABELS: ("label", "labels", "targets")}
ALL = "all"
_SEE_LAYOUT = "see tfds_builder/hpa/README.md for the layout"


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are wanted; an empty one is not.

    Attributes:
      id: of the Ids.
      labels: of the labels.
      group: of the group keys.
      split: of the splits.
      paths: for each of CHANNELS its column of paths, None for a channel without one; or empty.
      label_columns: a column for each label: their names, `("all",)` for all that nothing else is
        read from, or empty.
      may_lack_labels: whether a csv without labels is read, as one of which nobody knows them.
      unlabelled: whether no labels are read even if there are some.
      flags: which flags name columns, for messages.
    """

    id: str = DEFAULT_ID
    labels: str = DEFAULT_LABELS
    group: str = ""
    split: str = ""
    paths: tuple[str | None, ...] = ()
    label_columns: tuple[str, ...] = ()
    may_lack_labels: bool = False
    unlabelled: bool = False
    flags: str = field(default="", compare=False)


class Positions(NamedTuple):
    """Where in a row the wanted cells are; None for what is not read.

    Attributes:
      id: of the Id.
      labels: of the labels.
      one_hot: (position, name of the label) of each label that has a column of its own.
      group: of the group key.
      split: of the split.
      paths: of each channel's path.
    """

    id: int
    labels: int | None
    one_hot: tuple[tuple[int, str], ...]
    group: int | None
    split: int | None
    paths: tuple[int | None, ...]


def find(header: Sequence[str], wanted: Columns, vocabulary: Sequence[str]) -> Positions | None:
    """Finds the wanted columns; None unless all are there.

    Args:
      header: names of the columns.
      wanted: see there.
      vocabulary: names of the labels.
    """
    names = list(header)
    named = [wanted.id, wanted.group, wanted.split, *filter(None, wanted.paths)]
    found: dict[str, int | None] = {}
    for name in filter(None, named):
        found[name] = _position(names, name)
        if found[name] is None:
            return None
    labels = None
    one_hot: tuple[tuple[int, str], ...] = ()
    if not wanted.unlabelled:
        taken = set(found.values())
        if wanted.label_columns:
            one_hot = _chosen_label_columns(names, wanted.label_columns, taken)
        else:
            labels = _position(names, wanted.labels)
        if labels is None and not one_hot:
            one_hot = _columns_of_vocabulary(names, vocabulary)
        is_bare = wanted.may_lack_labels and len(taken) == len(names)
        if labels is None and not one_hot and not is_bare:
            return None
    return Positions(
        found[wanted.id],
        labels,
        one_hot,
        found.get(wanted.group),
        found.get(wanted.split),
        tuple(found.get(name) if name else None for name in wanted.paths),
    )


def check_once(header: Sequence[str], positions: Positions, where: str) -> None:
    """Raises InputError if a column that is read has the name of another."""
    read = [positions.id, positions.labels, positions.group, positions.split, *positions.paths]
    read += [position for position, _ in positions.one_hot]
    for position in read:
        if position is not None and list(header).count(header[position]) > 1:
            name = header[position]
            raise InputError(f"{where} has the column {name} twice; rename one of them")


def not_found(header: Sequence[str], wanted: Columns, where: str) -> InputError:
    """The error where `find` returns None: names what is missing and shows what is there."""
    names = list(header)
    missing = []
    for name in (wanted.id, wanted.group, wanted.split, *wanted.paths):
        if name and _position(names, name) is None:
            missing.append(name)
    lacks_labels = False
    if not wanted.unlabelled and not wanted.label_columns:
        lacks_labels = _position(names, wanted.labels) is None
    if lacks_labels:
        # As the challenge has it: Id, then Target.
        missing.insert(1 if wanted.id in missing else 0, wanted.labels)
    for name in wanted.label_columns:
        if name != ALL and _position(names, name) is None:
            missing.append(name)
    several = "s" if len(missing) > 1 else ""
    text = f"{where} has no column{several} {_listed(missing)} in its first line"
    if any(names):
        text += f"; its columns are {shown_columns(names)}"
    return InputError(f"{text}; {wanted.flags or _SEE_LAYOUT}")


def _listed(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names) or "of labels"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _position(names: list[str], wanted: str) -> int | None:
    """Position of the column of that name; in another case, if there is one such column."""
    if wanted in names:
        return names.index(wanted)
    for words in ((wanted.casefold(),), _OTHER_NAMES.get(wanted, ())):
        alike = [i for i, name in enumerate(names) if name.casefold() in words]
        if len(alike) == 1:
            return alike[0]
    return None


def _chosen_label_columns(
    names: list[str], chosen: Sequence[str], taken: set[int | None]
) -> tuple[tuple[int, str], ...]:
    if tuple(chosen) == (ALL,):
        return tuple((i, name) for i, name in enumerate(names) if i not in taken)
    positions = [_position(names, name) for name in chosen]
    if None in positions:
        return ()
    return tuple(zip(positions, chosen, strict=True))


def _columns_of_vocabulary(
    names: list[str], vocabulary: Sequence[str]
) -> tuple[tuple[int, str], ...]:
    """A column a label, if every label has one: by its name in any case, or by its id."""
    plain = [" ".join(name.split()).casefold() for name in names]
    by_name = [label.casefold() for label in vocabulary]
    by_id = [str(label) for label in range(len(vocabulary))]
    for wanted in (by_name, by_id):
        if vocabulary and set(wanted) <= set(plain):
            return tuple(
                (plain.index(name), label) for name, label in zip(wanted, vocabulary, strict=True)
            )
    return ()
