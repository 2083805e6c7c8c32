"""The cells of `hep2.py`: two datasets of the same images, and others' results on them.

`published` has the split of labels.csv. `folds` knows nothing of it: five folds, the inferred
specimens kept together.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import checkout  # noqa: F401
import numpy as np
from checkout import REPOSITORY

from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS

ARCHIVE = "hep2.zip"
"""`labels.csv` (Id, pattern, split, inferred_specimen) and `images/<Id>_green.png`."""

PUBLISHED = "hep2_published"
FOLDS = "hep2_folds"

NUM_FOLDS = 5

_GREEN = CHANNELS.index("green")

_COMMON = (
    "--config=folder",
    "--pattern=images/{id}_{channel}.png",
    "--channels=green=green",
    "--label_column=pattern",
    "--labels=csv",
    "--group_column=inferred_specimen",
    # Cells of one specimen are alike, and are a group already.
    "--near_duplicates=off",
)

_BUILDS = {
    PUBLISHED: ("--split_column=split",),
    # Golgi has four specimens, fewer than there are folds.
    FOLDS: ("--test=0", f"--folds={NUM_FOLDS}", "--allow_uneven_splits"),
}


class Published(NamedTuple):
    """What others report.

    Attributes:
      title: of the row.
      accuracy, mean_class_accuracy, macro_f1: None where they give none.
    """

    title: str
    accuracy: float | None = None
    mean_class_accuracy: float | None = None
    macro_f1: float | None = None


OTHERS = (
    Published("AlexNet, last layer tuned (george-chou, README)", 0.92),
    Published("a Keras CNN after Gao, 1,000 epochs (aakash791, notebook)", 0.948, None, 0.94),
)
"""On the same 2,720 test cells."""

ELSEWHERE = (
    Published("Gao 2014", None, 0.967),
    Published("Rodrigues 2020, Inception-V3 from scratch, five folds", 0.983),
)
"""Of splits that are not shown to be this one."""


class Cells(NamedTuple):
    """The cells of a split.

    Attributes:
      images: uint8 `[N, H, W]`, green.
      targets: uint8 `[N, 6]`, one 1 a row.
      groups: int64 `[N]`, the specimen of each.
    """

    images: np.ndarray
    targets: np.ndarray
    groups: np.ndarray


def build(hep2_dir: Path, data_dir: Path, name: str) -> None:
    """Builds one of the two datasets unless it is there.

    Raises:
      InputError: there is no archive, or the builder refuses it.
    """
    archive = hep2_dir / ARCHIVE
    if not archive.is_file():
        raise InputError(f"{archive} is not there; give --hep2_dir=DIR, the folder that holds it")
    flags = [*_COMMON, *_BUILDS[name], f"--name={name}", f"--manual_dir={archive}"]
    done = subprocess.run(
        [sys.executable, "-m", "tfds_builder.hpa", *flags, f"--data_dir={data_dir}"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise InputError(f"{data_dir}: {name} cannot be built, see above")
    print(done.stdout.splitlines()[0], file=sys.stderr)


def read_cells(data_dir: Path, name: str, split: str, fold: int = 0) -> Cells:
    """All cells of a split, in stored order."""
    dataset = load_dataset(data_dir, name, split=split, fold=fold)
    images = [dataset.image(position)[..., _GREEN] for position in range(len(dataset))]
    return Cells(np.stack(images), dataset.targets(), dataset.groups())
