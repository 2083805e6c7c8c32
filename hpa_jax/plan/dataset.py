"""What a plan takes from the dataset: how many fields an epoch shows, and how large the images are."""

import re
from pathlib import Path
from typing import NamedTuple

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS

CHALLENGE_FIELDS = 31_072
"""Fields of the challenge's training set (kaggle.com/c/human-protein-atlas-image-classification)."""


class Epoch(NamedTuple):
    fields: int
    source: str  # what the number is of

    @property
    def told(self) -> str:
        return f"an epoch: {self.fields} fields ({self.source})"


def epoch_of(config: Config) -> Epoch:
    """Fields of an epoch; also fills in what the configuration leaves to the data (image size, mean and deviation).

    Where the dataset is not built, the image size is the one that its name ends with, mean and deviation are stand-ins:
    numbers in the steps, of which memory and traffic do not depend.

    Raises:
      InputError: nothing says how large the images are, or a dataset is there and cannot be read.
    """
    data = config.data
    if all(
        list(Path(data.data_dir).glob(f"hpa/{name}/*/dataset_info.json"))
        for name in config.source_names()
    ):
        fields = pipeline.open_sources(config.data)
        config.data = pipeline.resolve_data(data, fields)
        found = Epoch(
            pipeline.make_order(config.data, fields, config.train.seed).epoch_length,
            f"an epoch of {data.train_split} of {', '.join(config.source_names())} with sampling={data.sampling}",
        )
    else:
        found = Epoch(CHALLENGE_FIELDS, f"the challenge's: {data.data_dir} holds no {data.name}")
        named = re.search(r"_(\d+)$", data.name)
        data.image_size = data.image_size or (int(named.group(1)) if named else 0)
        if not data.image_size:
            raise InputError(
                f"{data.data_dir} holds no {data.name}, whose image size is needed: set --config.data.image_size=PX, "
                "or --config.data.data_dir to where it is"
            )
        if not data.mean:
            data.mean, data.std = (0.1,) * len(CHANNELS), (0.2,) * len(CHANNELS)
    return Epoch(config.plan.images, "config.plan.images") if config.plan.images else found
