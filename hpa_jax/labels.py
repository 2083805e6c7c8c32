"""The four channels, and vocabularies: the sets of labels that images can have.

A label's id is its position in its vocabulary, and means nothing without it: 16 is the cytokinetic
bridge in `hpa2018` and the cytosol in `hpa2021`. A dataset stores the names of its vocabulary, a
run those that it has learnt, and both are compared by name.

References:
  hpa2018: names, and their order, are those of the challenge's data page (Kaggle 2018,
  https://www.kaggle.com/c/human-protein-atlas-image-classification). Counts: positives among the
  31,072 images of its train.csv.
  hpa2021: names, and their order, are those of the data page of the challenge of single cells
  (Kaggle 2021, https://www.kaggle.com/c/hpa-single-cell-image-classification), which Le et al.
  describe (Nature Methods 19, 1221-1229, 2022, https://doi.org/10.1038/s41592-022-01606-z).
  subcell: names, and their order, are those of the scores of SubCell (CLASS2NAME of inference.py,
  https://github.com/CellProfiling/SubCellPortable at a66715a2).
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CHANNELS = ("red", "green", "blue", "yellow")
"""Stored order: microtubules, the protein of interest, nucleus, endoplasmic reticulum."""

# Name, and number of positive images in the challenge's train.csv.
_TABLE = (
    ("Nucleoplasm", 12885),
    ("Nuclear membrane", 1254),
    ("Nucleoli", 3621),
    ("Nucleoli fibrillar center", 1561),
    ("Nuclear speckles", 1858),
    ("Nuclear bodies", 2513),
    ("Endoplasmic reticulum", 1008),
    ("Golgi apparatus", 2822),
    ("Peroxisomes", 53),
    ("Endosomes", 45),
    ("Lysosomes", 28),
    ("Intermediate filaments", 1093),
    ("Actin filaments", 688),
    ("Focal adhesion sites", 537),
    ("Microtubules", 1066),
    ("Microtubule ends", 21),
    ("Cytokinetic bridge", 530),
    ("Mitotic spindle", 210),
    ("Microtubule organizing center", 902),
    ("Centrosome", 1482),
    ("Lipid droplets", 172),
    ("Plasma membrane", 3777),
    ("Cell junctions", 802),
    ("Mitochondria", 2965),
    ("Aggresome", 322),
    ("Cytosol", 8228),
    ("Cytoplasmic bodies", 328),
    ("Rods & rings", 11),
)

LABELS = tuple(name for name, _ in _TABLE)
"""The 28 of `hpa2018`, by label id."""

TRAIN_COUNTS = tuple(count for _, count in _TABLE)
"""Positive images of each label in the challenge's train.csv (31,072 images, 1.634 labels each)."""

FIRST_NINE = tuple(range(9))
"""The labels of the second comparison of the baseline `hpa_densenet`."""

_LABELS_OF_2021 = (
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Intermediate filaments",
    "Actin filaments",
    "Microtubules",
    "Mitotic spindle",
    "Centrosome",
    "Plasma membrane",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Vesicles and punctate cytosolic patterns",
    "Negative",
)

_LABELS_OF_SUBCELL = (
    "Actin filaments",
    "Aggresome",
    "Cell Junctions",
    "Centriolar satellite",
    "Centrosome",
    "Cytokinetic bridge",
    "Cytoplasmic bodies",
    "Cytosol",
    "Endoplasmic reticulum",
    "Endosomes",
    "Focal adhesion sites",
    "Golgi apparatus",
    "Intermediate filaments",
    "Lipid droplets",
    "Lysosomes",
    "Microtubules",
    "Midbody",
    "Mitochondria",
    "Mitotic chromosome",
    "Mitotic spindle",
    "Nuclear bodies",
    "Nuclear membrane",
    "Nuclear speckles",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nucleoli rim",
    "Nucleoplasm",
    "Peroxisomes",
    "Plasma membrane",
    "Vesicles",
    "Negative",
)

MAX_LABELS = 1000
"""Of one vocabulary; more are a column that holds something else."""

_MAX_NAME = 200
_BETWEEN_LABELS = re.compile(r"[|;,]")
_SHOWN = 40


@dataclass(frozen=True)
class Vocabulary:
    """A set of labels in the order of their ids.

    Attributes:
      name: of the set; what it is called in messages and in the metadata of datasets.
      labels: their names by label id, each once in any case.

    Raises:
      ValueError: these are no names of labels; the text is the reason.
    """

    name: str
    labels: tuple[str, ...]

    def __post_init__(self):
        reason = _fault(self.name, self.labels)
        if reason:
            raise ValueError(reason)

    def __len__(self) -> int:
        return len(self.labels)

    def ids_of(self, text: str) -> tuple[int, ...]:
        """The label ids that a cell of a table names; empty for an empty cell.

        Labels are names in any case, separated by `|`, `;` or `,`, or label ids, which spaces
        may separate as well. Where a label is named like a number, numbers are names and no ids.

        Args:
          text: of the cell.

        Returns:
          Ascending label ids.

        Raises:
          ValueError: a label is unknown, or stands there twice; the text is the reason.
        """
        # A name may contain what otherwise separates.
        if _folded(text) in self._id_of:
            return (self._id_of[_folded(text)],)
        found = []
        for item in _BETWEEN_LABELS.split(text):
            found += self._ids_of_item(item)
        if len(set(found)) != len(found):
            shown = " ".join(text.split())[:80]
            raise ValueError(f"has a label twice ({shown}); take one out")
        return tuple(sorted(found))

    def has(self, label: str) -> bool:
        """Whether a label of this name, in any case, is one of these."""
        return _folded(label) in self._id_of

    def ids_by_name(self, labels: Sequence[str]) -> tuple[int, ...]:
        """The ids that these labels have here, by their names in any case.

        Raises:
          KeyError: with the first label that is not in this vocabulary.
        """
        found = []
        for label in labels:
            if _folded(label) not in self._id_of:
                raise KeyError(label)
            found.append(self._id_of[_folded(label)])
        return tuple(found)

    def _ids_of_item(self, item: str) -> list[int]:
        if _folded(item) in self._id_of:
            return [self._id_of[_folded(item)]]
        words = item.split()
        found = [self._id_of_word(word) for word in words]
        if None not in found:
            return found
        unknown = words[found.index(None)]
        # Without any number the words are one unknown name.
        has_number = any(word.lstrip("+-").isdigit() for word in words)
        shown = unknown if has_number else " ".join(words)
        last = len(self.labels) - 1
        raise ValueError(
            f"has the unknown label {shown[:_SHOWN]!r}; labels are 0 to {last}, or their names"
        )

    def _id_of_word(self, word: str) -> int | None:
        if self._has_numbers_for_names:
            return self._id_of.get(_folded(word))
        if not (word.isascii() and word.isdigit()):
            return None
        # Not int(): of 5,000 digits it raises.
        number = word.lstrip("0") or "0"
        if len(number) > len(str(MAX_LABELS)) or int(number) >= len(self.labels):
            return None
        return int(number)

    @functools.cached_property
    def _id_of(self) -> dict[str, int]:
        return {_folded(label): number for number, label in enumerate(self.labels)}

    @functools.cached_property
    def _has_numbers_for_names(self) -> bool:
        return any(label.isdigit() for label in self.labels)

    def to_json(self) -> dict[str, Any]:
        """As the metadata of datasets have it."""
        return {"name": self.name, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: Any) -> "Vocabulary":
        """What `to_json` made.

        Raises:
          ValueError: it is something else; the text is the reason.
        """
        if not isinstance(value, dict) or not isinstance(value.get("labels"), list):
            raise ValueError("has no name and list of labels")
        return cls(value.get("name"), tuple(value["labels"]))


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _fault(name: Any, labels: tuple[Any, ...]) -> str:
    """Why these cannot be a vocabulary; "" if they can."""
    if not isinstance(name, str) or not name.strip():
        return "has no name"
    if not 1 <= len(labels) <= MAX_LABELS:
        return f"has {len(labels)} labels; 1 to {MAX_LABELS} are possible"
    first_id = {}
    for number, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            return f"label {number} has no name"
        if label != " ".join(label.split()) or len(label) > _MAX_NAME:
            return f"label {number} is no name: {label[:_SHOWN]!r}"
        if not label.isprintable():
            return f"label {number} has a character that cannot be seen: {label[:_SHOWN]!r}"
        first = first_id.setdefault(_folded(label), number)
        if first != number:
            return f"labels {first} and {number} have one name: {label[:_SHOWN]!r}"
    return ""


HPA_2018 = Vocabulary("hpa2018", LABELS)
"""Of runs, datasets and exports that do not say which vocabulary is theirs."""

HPA_2021 = Vocabulary("hpa2021", _LABELS_OF_2021)
"""Here `Negative` is a label of its own: no structure was seen."""

SUBCELL = Vocabulary("subcell", _LABELS_OF_SUBCELL)
"""The Atlas's own names for 30 structures, and `Negative` as in `hpa2021`."""

LABEL_SETS = {known.name: known for known in (HPA_2018, HPA_2021, SUBCELL)}
"""The vocabularies that have a name everywhere."""


def named(labels: tuple[str, ...], otherwise: str = "own") -> Vocabulary:
    """A vocabulary under the name that its labels have in LABEL_SETS.

    Args:
      labels: by label id.
      otherwise: its name if it is none of those.

    Raises:
      ValueError: these are no names of labels.
    """
    for known in LABEL_SETS.values():
        if known.labels == labels:
            return known
    return Vocabulary(otherwise, labels)
