"""The builder's configurations by name: what each is, and which source and recipe go with it. No TensorFlow here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfds_builder.hpa.drawn import Synthetic
from tfds_builder.hpa.kaggle import Kaggle
from tfds_builder.hpa.sources import Source


@dataclass(frozen=True)
class Config:
    """One configuration; `source` makes its source from manual_dir (None where there is nothing to read)."""

    description: str
    source: Callable[[Path | None], Source]
    recipe: str


CONFIGS = {
    "kaggle_512": Config(
        "The training fields of the Kaggle challenge, 512 x 512 pixels.", Kaggle, recipe="configs/lowres.py"
    ),
    "synthetic": Config(
        "Fields drawn from a seed; no download.", lambda manual_dir: Synthetic(), recipe="configs/quickstart.py"
    ),
}


def base(name: str) -> Config:
    """The configuration of a name, also of one with a size after it (`synthetic_1024`)."""
    return CONFIGS[name] if name in CONFIGS else CONFIGS[name.rpartition("_")[0]]


def recipe(name: str) -> str:
    """The recipe to train the dataset `name` with."""
    _, _, size = name.rpartition("_")
    large = name not in CONFIGS and size.isdigit() and int(size) >= 1024
    return "configs/highres.py" if large else base(name).recipe
