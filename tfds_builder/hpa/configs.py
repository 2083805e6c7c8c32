"""The builder's configurations by name: description, flags, source and matching recipe of each.

No TensorFlow here: worker processes import this module.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfds_builder.hpa.build import Build
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.files.s_biad2443 import SPLITS
from tfds_builder.hpa.lists.catalog import MASTER, TRAINED_ON
from tfds_builder.hpa.sources import Source
from tfds_builder.hpa.synthetic.source import Synthetic


@dataclass(frozen=True)
class Config:
    """One configuration.

    Attributes:
      description: one line.
      source: makes its source from manual_dir (if it has one) and the `flags` that were given.
      recipe: a config to train with.
      manual: what manual_dir contains; empty if there is nothing to read.
      flags: of the command line that this configuration takes besides the common ones.
      test: default of `Build.test`.
      folds: default of `Build.folds`.
      splits: values of --split that its source takes, besides those of public lists.
    """

    description: str
    source: Callable[..., Source]
    recipe: str
    manual: str
    flags: tuple[str, ...] = ()
    test: float = 0.1
    folds: int = 5
    splits: tuple[str, ...] = ()

    def build(self, manual_dir: Path | None, source_flags: dict | None = None, **settings) -> Build:
        """Makes the build of this configuration.

        Args:
          manual_dir: ignored by a configuration that reads nothing.
          source_flags: values of those of `flags` that were given.
          **settings: attributes of `Build`; the configuration's defaults otherwise.
        """
        positional = [manual_dir] if self.manual else []
        source = self.source(*positional, **(source_flags or {}))
        defaults = {"test": self.test, "folds": self.folds}
        return Build(source, **(defaults | settings))


# Of every configuration that reads a csv.
_LISTED = ("labels", "no_label", "follow_links")

CONFIGS = {
    "kaggle_512": Config(
        "The training images of the Kaggle challenge, 512 x 512 pixels.",
        layouts.kaggle_512,
        recipe="configs/lowres.py",
        manual="train.csv and train/ or train.zip, or is the challenge's zip",
        flags=_LISTED,
    ),
    "kaggle_full": Config(
        "The training images of the Kaggle challenge in full size: TIFFs of 2048 or 3072 pixels.",
        layouts.kaggle_full,
        recipe="configs/highres.py",
        manual="train.csv and train/",
        flags=("edge", *_LISTED),
    ),
    "hpav18": Config(
        "Public images of the Human Protein Atlas, version 18: coloured JPGs.",
        layouts.hpav18,
        recipe="configs/highres.py",
        manual="labels.csv and images/, as the downloader writes them",
        flags=("edge", *_LISTED),
    ),
    "s_biad2443": Config(
        "Images of the Human Protein Atlas by the tables of S-BIAD2443.",
        layouts.s_biad2443,
        recipe="configs/lowres.py",
        manual=f"{MASTER}, {TRAINED_ON} and the images",
        flags=(
            "pattern",
            "channels",
            "channel_order",
            "white",
            "edge",
            "group_column",
            "no_label",
            "follow_links",
        ),
        splits=SPLITS,
    ),
    "folder": Config(
        "Anyone's images: a csv and a file a channel.",
        layouts.folder,
        recipe="configs/lowres.py",
        manual="the csv and the images",
        flags=(
            "csv",
            "pattern",
            "channels",
            "white",
            "pixel_size",
            "rescale",
            "edge",
            "id_column",
            "label_column",
            "group_column",
            "channel_order",
            "projection",
            "float_range",
            "path_columns",
            "label_columns",
            "unlabelled",
            "split_column",
            *_LISTED,
        ),
    ),
    "synthetic": Config(
        "Images drawn from a seed; no download.",
        Synthetic,
        recipe="configs/quickstart.py",
        manual="",
        flags=("images", "size", "frequencies", "vary", "masks", "seed"),
        test=0.2,
        folds=8,
    ),
}
"""Descriptions are stored in dataset_info.json: changing one changes bytes of a built dataset."""
