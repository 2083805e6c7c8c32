"""Labels of a csv: ids or names of a vocabulary, in one cell, or 1 and 0 in a column for each.

Ids are separated by spaces, `|`, `;` or `,`; names by `|`, `;` or `,`, since they contain spaces. A
name that contains one of these is read where it stands alone, or between `|`.
"""

import re
from collections.abc import Iterable, Sequence

_BETWEEN_LABELS = re.compile(r"[|;,]")
_ONES = {"1": True, "1.0": True, "true": True, "yes": True}
_ZEROS = {"0": False, "0.0": False, "false": False, "no": False}
# How the challenge of 2021 names its columns, and the largest id of its 19 classes.
_COLUMNS_OF_2021 = ("ID", "Label")
_LARGEST_OF_2021 = 18


class LabelParser:
    """Reads labels of one vocabulary."""

    def __init__(self, names: Sequence[str]):
        """names: of the labels, by id."""
        self._number = len(names)
        self._by_name = {plain(name): label for label, name in enumerate(names)}
        self._digits = max(2, len(str(len(names) - 1)))

    def parse(self, text: str) -> tuple[int, ...]:
        """Ascending label ids of a cell; none if nothing is in it.

        Raises:
          ValueError: with the reason.
        """
        labels: list[int] = []
        for item in self._items(text):
            name = plain(item)
            if name in self._by_name:
                labels.append(self._by_name[name])
            else:
                labels += self._parse_ids(item.split())
        if len(set(labels)) != len(labels):
            shown = " ".join(text.split())[:80]
            raise ValueError(f"has a label twice ({shown}); take one out")
        return tuple(sorted(labels))

    def parse_columns(self, cells: Iterable[tuple[str, str]]) -> tuple[int, ...]:
        """Ascending label ids of the labels whose cell holds 1.

        Args:
          cells: name of the label, and its cell.

        Raises:
          ValueError: with the reason.
        """
        labels = []
        for name, cell in cells:
            value = (_ONES | _ZEROS).get(cell.strip().casefold())
            if value is None:
                shown = cell.strip()[:40]
                raise ValueError(f"has {shown!r} in the column {name}; put 1 or 0 there")
            if value:
                labels += self.parse(name)
        return tuple(sorted(labels))

    def _items(self, text: str) -> list[str]:
        items = []
        for part in text.split("|"):
            is_name = plain(part) in self._by_name
            items += [part] if is_name else _BETWEEN_LABELS.split(part)
        return [item for item in items if item.strip()]

    def _parse_ids(self, words: list[str]) -> list[int]:
        unknown = [word for word in words if not self._is_id(word)]
        if not unknown:
            return [int(word) for word in words]
        # Without any number the words are an unknown name.
        has_number = any(word.lstrip("+-").isdigit() for word in words)
        shown = unknown[0] if has_number else " ".join(words)
        raise ValueError(
            f"has the unknown label {shown[:40]!r}; labels are 0 to {self._number - 1}, or their "
            "names"
        )

    def _is_id(self, word: str) -> bool:
        if not (word.isascii() and word.isdigit() and len(word) <= self._digits):
            return False
        return int(word) < self._number


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
            if name and all(word.isdigit() for word in name.split()):
                raise ValueError(
                    f"has {name[:40]!r} among its labels, an id and no name; give the names in the "
                    "order of the ids: --labels=FILE"
                )
            if name:
                names.setdefault(plain(name), name)
    return sorted(names.values())


def looks_like_2021(id_column: str, label_column: str, cells: Iterable[str]) -> bool:
    """Whether labels may be ids of the 19 classes of 2021, which are others from 8 on.

    All are ids up to 18, and the columns are named as there, or ids are separated by `|`.

    Args:
      id_column: its name in the csv.
      label_column: its name in the csv.
      cells: of that column.
    """
    is_like = (id_column, label_column) == _COLUMNS_OF_2021
    for cell in cells:
        ids = [item.strip() for item in cell.split("|") if item.strip()]
        for label in ids:
            if not (label.isascii() and label.isdigit() and len(label) <= 2):
                return False
            if int(label) > _LARGEST_OF_2021:
                return False
        is_like |= len(ids) > 1
    return is_like
