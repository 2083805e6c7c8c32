"""The four channels and the 28 labels of the Human Protein Atlas image classification challenge.

A label's id is its position in `LABELS`: this file decides the order of targets and scores.

References:
  Names and their order: the challenge's data page (Kaggle 2018,
  https://www.kaggle.com/c/human-protein-atlas-image-classification). Counts: positives among the
  31,072 images of its train.csv.
"""

from typing import NamedTuple

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
"""Names by label id."""

VOCABULARY = "hpa2018"
"""Name of this set of labels, in the metadata of datasets."""

TRAIN_COUNTS = tuple(count for _, count in _TABLE)
"""Positive images of each label in the challenge's train.csv (31,072 images, 1.634 labels each)."""

FIRST_NINE = tuple(range(9))
"""The labels of the second comparison of the baseline `hpa_densenet`."""


class Vocabulary(NamedTuple):
    """A set of labels.

    Attributes:
      name: of the set.
      labels: their names by label id.
    """

    name: str
    labels: tuple[str, ...]


_LABELS_2021 = (
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

LABEL_SETS = {
    "hpa2018": Vocabulary("hpa2018", LABELS),
    "hpa2021": Vocabulary("hpa2021", _LABELS_2021),
}
"""Vocabularies by name."""
