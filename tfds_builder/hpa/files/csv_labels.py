"""Labels of a csv: ids or names in one cell, or 1 and 0 in a column for each label.

`hpa_jax.labels.Vocabulary.ids_of` has how a cell is read.
"""

import re
from collections.abc import Iterable

from hpa_jax.labels import Vocabulary

_BETWEEN_LABELS = re.compile(r"[|;,]")
_NO_STRUCTURE = {"negative", "none"}
_SHOWN = 12
_WITH_DECIMALS = re.compile(r"(?<![\w.-])(\d+)\.0+(?![\w.])")
_BETWEEN_IDS = re.compile(r"[|;,\s]+")
_VALUES = {
    "1": True,
    "1.0": True,
    "true": True,
    "yes": True,
    "t": True,
    "y": True,
    "0": False,
    "0.0": False,
    "false": False,
    "no": False,
    "f": False,
    "n": False,
}
# What programs write into a cell in which nothing is: pandas, R, Excel.
_NOTHING = {"nan", "na", "n/a", "#n/a", "null", "<na>"}
# How the challenge of 2021 names its columns, and the largest id of its 19 classes.
_COLUMNS_OF_2021 = ("id", "label")
_LARGEST_OF_2021 = 18


def whole_numbers(text: str) -> str:
    """A cell with `3` for `3.0`: so pandas writes ids where some rows have none."""
    return _WITH_DECIMALS.sub(r"\1", text)


def is_nothing(text: str) -> bool:
    """Whether a cell holds nothing, or a program's word for that."""
    return not text.strip() or text.strip().casefold() in _NOTHING


def parse_cell(text: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Ascending label ids of a cell; none if nothing is in it.

    Raises:
      ValueError: with the reason.
    """
    if is_nothing(text) and not vocabulary.has(text):
        return ()
    if plain(text) in _NO_STRUCTURE and not vocabulary.has(text):
        raise ValueError(
            f"has the label {text.strip()!r}, which is none of {vocabulary.name}; if the image "
            "shows none of the structures, leave its cell empty and give --no_label=negative"
        )
    labels: list[int] = []
    # A name may contain the other separators.
    for part in text.split("|"):
        labels += vocabulary.ids_of(part)
    if len(set(labels)) != len(labels):
        shown = " ".join(text.split())[:80]
        raise ValueError(f"has a label twice ({shown}); take one out")
    return tuple(sorted(labels))


def parse_columns(cells: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> tuple[int, ...]:
    """Ascending label ids of the labels whose cell holds 1.

    Args:
      cells: name of the label, and its cell.
      vocabulary: of the names.

    Raises:
      ValueError: with the reason.
    """
    labels: set[int] = set()
    for name, cell in cells:
        value = _VALUES.get(cell.strip().casefold())
        if value is None:
            shown = cell.strip()[:40]
            raise ValueError(f"has {shown!r} in the column {name}; put 1 or 0 there")
        if value:
            labels.update(vocabulary.ids_of(name))
    return tuple(sorted(labels))


def plain(name: str) -> str:
    """A name as it is compared: white space and case have no meaning."""
    return " ".join(name.split()).casefold()


def names_found(cells: Iterable[str]) -> list[str]:
    """The different names in the cells of a column of labels, sorted.

    Raises:
      ValueError: there are ids among them, which are no names.
    """
    names: dict[str, str] = {}
    for cell in cells:
        for item in _BETWEEN_LABELS.split(cell):
            name = " ".join(item.split())
            if is_nothing(name):
                continue
            if all(word.isdigit() for word in name.split()):
                raise ValueError(
                    f"has {name[:40]!r} among its labels, an id and no name; give the names in the "
                    "order of the ids: --labels=FILE"
                )
            names.setdefault(plain(name), name)
    return sorted(names.values())


def looks_like_2021(id_column: str, label_column: str, cells: Iterable[str]) -> bool:
    """Whether labels may be ids of the 19 classes of 2021, which are others from 8 on.

    All ids are up to 18, and the columns are named as there (in any case), or ids are separated by
    `|`, as they are there.

    Args:
      id_column: its name in the csv.
      label_column: its name in the csv.
      cells: of that column.
    """
    is_like = (plain(id_column), plain(label_column)) == _COLUMNS_OF_2021
    has_ids = False
    for cell in cells:
        # A faulty label, which is another matter, must not hide what the others are.
        ids = [label for label in _BETWEEN_IDS.split(cell) if _is_id(label)]
        if any(int(label) > _LARGEST_OF_2021 for label in ids):
            return False
        has_ids |= bool(ids)
        is_like |= "|" in cell
    return is_like and has_ids


def looks_like_classes(label_column: str, cells: Iterable[str], usual_column: str) -> bool:
    """Whether ids may be those of one's own classes: one in each row, and none is left out.

    Ids of 2018 have gaps in all but large tables. A column named as the challenge has it is taken
    for what it says.

    Args:
      label_column: its name in the csv.
      cells: of that column.
      usual_column: the challenge's name.
    """
    if plain(label_column) == plain(usual_column):
        return False
    found = set()
    for cell in cells:
        ids = [label for label in _BETWEEN_IDS.split(cell) if _is_id(label)]
        if len(ids) > 1:
            return False
        found |= set(map(int, ids))
    if len(found) < 2 or max(found) > _LARGEST_OF_2021:
        return False
    return found == set(range(min(found), max(found) + 1)) and min(found) <= 1


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3


def are_ids(cells: Iterable[str]) -> bool:
    """Whether labels are ids, in all cells that have any."""
    found = [label for cell in cells for label in _BETWEEN_IDS.split(cell) if label]
    words = [label for label in found if not is_nothing(label)]
    return bool(words) and all(word.isascii() and word.isdigit() for word in words)


def shown_names(vocabulary: Vocabulary) -> str:
    """The names of a vocabulary with their ids; of a large one the first and the last."""
    shown = [f"{number} {name}" for number, name in enumerate(vocabulary.labels)]
    if len(shown) > _SHOWN:
        shown = [*shown[: _SHOWN - 1], "...", shown[-1]]
    return "; ".join(shown)
