"""The builder's configurations by name: what each is, which flags it takes, which source and recipe go with it.

No TensorFlow here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.planning import Build
from tfds_builder.hpa.sources import Source
from tfds_builder.hpa.synthetic.source import DEFAULT_FIELDS, Synthetic


@dataclass(frozen=True)
class Config:
    """One configuration.

    Attributes:
      description: one line.
      source: makes its source, of manual_dir (where there is one) and of the `flags` that were given.
      recipe: to train with.
      manual: what manual_dir holds; "": there is nothing to read.
      flags: of the command line that this configuration takes, beside those that all take.
      test, folds: of `Build`, by default.
    """

    description: str
    source: Callable[..., Source]
    recipe: str
    manual: str
    flags: tuple[str, ...] = ()
    test: float = 0.1
    folds: int = 5

    def build(self, manual_dir: Path | None, given: dict | None = None, **settings) -> Build:
        """The build of this configuration with the flags that were given (`given`: those of its source)."""
        source = self.source(*([manual_dir] if self.manual else []), **(given or {}))
        return Build(source, **{"test": self.test, "folds": self.folds} | settings)


CONFIGS = {
    "kaggle_512": Config(
        "The training fields of the Kaggle challenge, 512 x 512 pixels.",
        layouts.kaggle_512,
        recipe="configs/lowres.py",
        manual="train.csv and train/ or train.zip, or is the challenge's zip",
    ),
    "kaggle_full": Config(
        "The training fields of the Kaggle challenge in full size: TIFFs of 2048 or 3072 pixels.",
        layouts.kaggle_full,
        recipe="configs/highres.py",
        manual="train.csv and train/",
        flags=("edge",),
    ),
    "hpav18": Config(
        "Public fields of the Human Protein Atlas, version 18: coloured JPGs.",
        layouts.hpav18,
        recipe="configs/highres.py",
        manual="labels.csv and images/, as the downloader writes them",
        flags=("edge",),
    ),
    "folder": Config(
        "Anyone's fields: a csv and a file a channel.",
        layouts.folder,
        recipe="configs/lowres.py",
        manual="the csv and the images",
        flags=(
            *("csv", "pattern", "channels", "white", "pixel_size", "rescale", "edge"),
            *("id_column", "label_column", "family_column"),
        ),
    ),
    "synthetic": Config(
        "Fields drawn from a seed; no download.",
        lambda fields=DEFAULT_FIELDS, **given: Synthetic(fields, **given),
        recipe="configs/quickstart.py",
        manual="",
        flags=("fields", "size", "frequencies", "seed"),
        test=0.2,
        folds=8,
    ),
}
