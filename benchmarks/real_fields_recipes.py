"""What `real_fields.py` runs: each recipe of configs/, on which fields and with which flags.

A recipe keeps its own net, head, sizes, loss, sampling and augmentation. Only the batch and the
length are what two cores can do.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checkout import REPOSITORY
from learning_recipes import config_flags

from hpa_jax.errors import InputError
from hpa_jax.recipes import load_config

FIELDS = "kaggle_512"
"""77 fields of 512 px, in Kaggle's own layout."""

FULL_SIZE = "kaggle_full"
"""Three fields as they were taken: two of 2048 px, one of 3072 px."""

BUILDS = {
    # So few held out, since scoring them takes as long as training.
    FIELDS: ("kaggle_512", ("--config=kaggle_512", "--test=0.04", "--folds=20")),
    FULL_SIZE: (
        "full_size",
        ("--config=folder", "--pattern=images/{id}_{channel}.png", "--test=0", "--folds=3"),
    ),
}
"""Folder of the sample and the builder's flags, by the name of the dataset."""

READ_INSTEAD = {
    "kaggle_512": FIELDS,
    "kaggle_full": FULL_SIZE,
    # The sample has no 77 fields of 1024 px: the host zooms those of 512.
    "kaggle_full_1024": FIELDS,
    "synthetic": FIELDS,
}
"""Which fields a recipe gets, by the name of the dataset that it reads."""

OTHERS = {
    "cells": "cells of drawn fields, whose masks are known: docs/cell_by_cell.md",
    "cells_unet": "drawn fields, whose masks are known: benchmarks/segmentation.py",
    "channels": "learns channels, no labels: benchmarks/channels.py trains it on real fields",
    "fusion": "starts from finished runs: benchmarks/fusion.py",
    "hep2": "single cells with one pattern each, not fields: benchmarks/hep2.py trains it",
    "metric": "antibodies with several fields each: benchmarks/retrieval.py trains its task",
}
"""Why a recipe is not run here, by its name."""

# The size of the quickstart's synthetic images, which its recipe leaves to the dataset.
_STORED_SIZE = {"synthetic": 64}

# A field as it was taken is more than the memory of most machines holds: the flags that
# configs/native.py names for that. One field a step.
NATIVE_SIDES = (2048, 3072)
_TILES = {"head": "attention", "tile": 512}

_QUICK_NET = "densenet_tiny"
_QUICK_SIDE = 32

# At 32 px a tile ends as one pixel, and of one field that is all that a batch norm sees: its
# output is then its bias, and nothing before it learns.
_QUICK_TILE = 64

# Its head goes with its own net alone, which is small.
_OWN_NET = ("all_cnn",)


@dataclass(frozen=True)
class FieldsRun:
    """One recipe on real fields.

    Attributes:
      name: of its folder and row.
      recipe: its name in configs/.
      data: FIELDS or FULL_SIZE.
      side: px that the net sees.
      batch: fields a step.
      steps: of the training.
      flags: of python -m hpa_jax.main, on top of the recipe.
    """

    name: str
    recipe: str
    data: str
    side: int
    batch: int
    steps: int
    flags: tuple[str, ...]

    @property
    def path(self) -> str:
        """Of the recipe, from the repository's root."""
        return f"configs/{self.recipe}.py"

    @property
    def has_onnx(self) -> bool:
        """Whether its export has model.onnx; a net that goes tile by tile cannot."""
        return self.data != FULL_SIZE


def recipe_names() -> list[str]:
    """Every recipe there is."""
    paths = (REPOSITORY / "configs").glob("*.py")
    return sorted(path.stem for path in paths if path.stem != "__init__")


def data_of(recipe: str) -> str:
    """The name of the dataset that a recipe reads."""
    return load_config(_path(recipe)).data.name


def runs_of(recipes: Sequence[str], steps: int, batch: int, quick: bool) -> list[FieldsRun]:
    """What is to be run of recipes; those of OTHERS are left out.

    Raises:
      InputError: a recipe reads a dataset that this file does not know.
    """
    runs = []
    for recipe in recipes:
        if recipe in OTHERS:
            continue
        name = data_of(recipe)
        if name not in READ_INSTEAD:
            raise InputError(
                f"configs/{recipe}.py reads {name}; say in READ_INSTEAD or OTHERS of "
                f"benchmarks/{Path(__file__).name} what becomes of it"
            )
        runs += _runs(recipe, name, steps, batch)
    if quick:
        runs = [_made_small(run) for run in runs]
    return runs


def _runs(recipe: str, name: str, steps: int, batch: int) -> list[FieldsRun]:
    data = READ_INSTEAD[name]
    config = load_config(_path(recipe))
    if data == FULL_SIZE:
        return [_native(recipe, side, steps) for side in NATIVE_SIDES]
    side = config.data.image_size or _STORED_SIZE[name]
    return [_run(recipe, recipe, data, side, batch, steps, {})]


def _native(recipe: str, side: int, steps: int) -> FieldsRun:
    return _run(f"{recipe}_{side}", recipe, FULL_SIZE, side, 1, steps, _TILES)


def _run(
    name: str, recipe: str, data: str, side: int, batch: int, steps: int, model: dict
) -> FieldsRun:
    train = {"steps": steps, "log_every": 1, "eval_every": steps, "ema_batches": 1}
    flags = (
        *config_flags("data", {"name": data, "image_size": side, "batch_size": batch}),
        *config_flags("data", {"threads": 2}),
        *config_flags("model", model),
        *config_flags("train", train),
        # The last two states are compared.
        *config_flags("checkpoint", {"every": steps - 1, "keep": 2}),
    )
    return FieldsRun(name, recipe, data, side, batch, steps, flags)


def _made_small(run: FieldsRun) -> FieldsRun:
    """The run with a small net at a small size, its tiles four to a field."""
    model = {}
    side = _QUICK_SIDE
    if run.recipe not in _OWN_NET:
        model["name"] = _QUICK_NET
    if run.data == FULL_SIZE:
        model["tile"] = _QUICK_TILE
        side = 2 * _QUICK_TILE
    more = (*config_flags("model", model), *config_flags("data", {"image_size": side}))
    return dataclasses.replace(run, side=side, flags=(*run.flags, *more))


def _path(recipe: str) -> Path:
    return REPOSITORY / "configs" / f"{recipe}.py"
