"""Examples from the images of a dataset: each image is decoded once, for all that embed it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from hpa_jax.config import Data
from hpa_jax.data import pipeline
from hpa_jax.data.loader import eval_batches
from hpa_jax.errors import InputError
from hpa_jax.probe.embedders import Embedder
from hpa_jax.probe.examples import Examples


class Embedded(NamedTuple):
    """The images of three splits as examples.

    Attributes:
      examples: their features, targets, groups and splits.
      ids: of the images, in the order of the rows.
    """

    examples: Examples
    ids: list[str]


def embed_splits(data: Data, splits: Sequence[str], embedders: Sequence[Embedder]) -> Embedded:
    """Embeds the images of a dataset, which are labelled as the dataset labels them.

    Args:
      data: names the dataset and how it is read. Its labels are left out of account: a probe may
        be for others than the net has learnt.
      splits: names of the dataset's splits, in the order of `hpa_jax.probe.examples.SPLITS`.
      embedders: what makes the features.

    Raises:
      InputError: no such dataset or split, or one that is named twice.
    """
    if len(set(splits)) < len(splits):
        raise InputError(
            f"the splits to fit on, to choose with and to score on are {', '.join(splits)}; give "
            "config.data.train_split, config.data.eval_split and config.probe.split three names"
        )
    datasets = [pipeline.open_split(data, split) for split in splits]
    ids = []
    targets = []
    groups = []
    numbers = []
    features = {embedder.name: [] for embedder in embedders}
    total = sum(len(dataset) for dataset in datasets)
    with tqdm(total=total, unit="image", desc="embed", dynamic_ncols=True, disable=None) as bar:
        for number, dataset in enumerate(datasets):
            ids += dataset.ids()
            targets.append(dataset.targets())
            groups.append(dataset.groups())
            numbers.append(np.full(len(dataset), number, np.int8))
            for batch in eval_batches(dataset, batch_size=data.batch_size, threads=data.threads):
                for embedder in embedders:
                    found = embedder.embed(batch["image"])
                    features[embedder.name].append(found[batch["mask"]])
                bar.update(int(batch["mask"].sum()))
    examples = Examples(
        features={name: np.concatenate(found) for name, found in features.items()},
        targets=np.concatenate(targets),
        groups=np.concatenate(groups),
        splits=np.concatenate(numbers),
        label_names=pipeline.resolve_labels(data).label_names(),
    )
    return Embedded(examples, ids)
