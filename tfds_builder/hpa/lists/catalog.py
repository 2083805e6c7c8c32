"""The public lists that have a name here, and where they are; none of them is part of this project.

What is known of each, and from where, is in docs/public_splits.md. A digest that nobody has
published is not made up: `sha256` is empty, and whoever fetches the file states it.
"""

from dataclasses import dataclass
from typing import NamedTuple

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"


class ListFile(NamedTuple):
    """A file of a list.

    Attributes:
      name: of the file.
      lines: antibodies in the copies that are known, one a line; 0 where that is not known.
      split: whose antibodies it has; empty where it is a table.
      columns: that a table must have.
      sha256: hex digits; empty where none is known.
    """

    name: str
    lines: int = 0
    split: str = ""
    columns: tuple[str, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class PublicList:
    """Files that are fetched together.

    Attributes:
      name: by which it is asked for.
      url: of the folder of its files.
      files: that it consists of.
      note: whose it is and under which terms, for whoever fetches it.
      max_bytes: of a file.
    """

    name: str
    url: str
    files: tuple[ListFile, ...]
    note: str
    max_bytes: int

    def of_split(self) -> list[ListFile]:
        """The files that are lists of antibodies."""
        return [file for file in self.files if file.split]


SUBCELL = PublicList(
    "subcell",
    "https://raw.githubusercontent.com/CellProfiling/subcell-embed/main/annotations/splits",
    (
        ListFile("train_antibodies.txt", 10_433, TRAIN),
        ListFile("valid_antibodies.txt", 1_487, VALIDATION),
        ListFile("test_antibodies.txt", 3_460, TEST),
    ),
    "the antibodies of SubCell (CellProfiling/subcell-embed), which CHAMMI-75 uses too",
    1 << 20,
)

MASTER = "Master_fovHPA_512.csv"
TRAINED_ON = "whole_images_512_train.csv"
S_BIAD2443 = PublicList(
    "s_biad2443",
    "https://ftp.ebi.ac.uk/biostudies/fire/S-BIAD/443/S-BIAD2443/Files/HPA",
    (
        ListFile(MASTER, columns=("Path", "cell_type", "source")),
        ListFile(TRAINED_ON, columns=("file",)),
    ),
    "the tables of S-BIAD2443 (Cell-DINO, BioImage Archive): images of the Human Protein Atlas",
    1 << 30,
)

PUBLIC_LISTS = {known.name: known for known in (SUBCELL, S_BIAD2443)}

SPLITS = (SUBCELL.name,)
"""The lists that say where antibodies go: what `--split` takes."""
