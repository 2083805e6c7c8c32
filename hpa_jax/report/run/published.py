"""Published figures to stand beside ours, each with its source, and which row of the seed study a run is.

The study (project page of manthan2305/HPA-Image-Classification) gives macro F1 on a split of its own. Its public
notebook computes an F1 averaged over fields that compares the targets with themselves, so that what its figures measure
is doubtful: they stand as published. Human accuracy is quoted there, too, without its source.
"""

from typing import NamedTuple

from hpa_jax.config import Config
from hpa_jax.labels import FIRST_NINE, LABELS

HUMAN = 0.71
"""People's F1 as the study quotes it; no primary source is known."""
HIGH_RESOLUTION = 1024
"""px a side from which on a run counts as the study's high resolution."""


class Row(NamedTuple):
    """A row of the study's table; `recipe` is its file in configs/, without the .py."""

    name: str
    recipe: str
    macro_f1: float


STUDY = (
    Row("All-CNN", "all_cnn", 0.0162),
    Row("Inception-ResNet-v2", "inception_resnet_v2", 0.3354),
    Row("DenseNet-201", "densenet201", 0.3825),
    Row("DenseNet-121, low resolution", "lowres", 0.3987),
    Row("DenseNet-121, high resolution", "highres", 0.4025),
    Row("first nine labels, low resolution", "lowres_first_nine", 0.6012),
    Row("first nine labels, high resolution", "highres_first_nine", 0.6139),
)

CHALLENGE = (
    (
        "1st place (bestfitting), many nets",
        0.593,
        "quoted by reneebrecht/human-protein-atlas-image-classification",
    ),
    (
        "its DenseNet-121 alone, five folds, 1024 px",
        0.565,
        "CellProfiling/HPA-competition-solutions, bestfitting/README.md",
    ),
    ("DenseNet-121 at 512 px, five folds, one small GPU", 0.546, "avipartho/kaggle_human_protein"),
    (
        "median of 2,154 teams, public part",
        0.434,
        "broadinstitute/Dino4Cells_analysis, table of scores",
    ),
)
"""Macro F1 on the challenge's hidden fields, which are not those of any run here: (system, figure, source)."""


def row_of(config: Config) -> str | None:
    """The recipe of the study's row that a run is one of, or None.

    It must have the row's net, labels and size of image, the study's loss and optimiser, and the challenge's fields:
    synthetic fields, or another recipe with the same net, are no answer to a published figure.
    """
    data, model, labels = config.data, config.model, config.label_ids()
    recipe = (config.train.loss, config.optim.name, config.optim.lr)
    if recipe != ("bce", "adam", 0.01) or not data.name.startswith("kaggle"):
        return None
    every, nine = labels == tuple(range(len(LABELS))), labels == FIRST_NINE
    if model.name == "densenet121" and model.head == "hpa_densenet" and (every or nine):
        size = "highres" if data.image_size >= HIGH_RESOLUTION else "lowres"
        return size if every else f"{size}_first_nine"
    return (
        model.name
        if every and model.name in ("all_cnn", "inception_resnet_v2", "densenet201")
        else None
    )
