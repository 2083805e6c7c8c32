"""What an export's net is for: the key `kind` of model.json, which exports of labels lack."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpa_jax.errors import InputError

LABELS = "labels"
CELL_MASKS = "cell_masks"
FILLED_CHANNELS = "filled_channels"
CELLS = "cells"
EMBEDDINGS = "embeddings"

_USES = {
    LABELS: "it tells which labels an image has: give it to predict, serve or page",
    CELL_MASKS: "it finds cells: python -m hpa_jax.serving segment DIR --method=unet "
    "--weights=EXPORT --out=FOLDER",
    FILLED_CHANNELS: "it fills in channels: python -m hpa_jax.serving predict EXPORT_OF_LABELS "
    "DIR --missing=yellow --synthesize=EXPORT --out=scores.csv",
    CELLS: "it scores single cells: python -m hpa_jax.serving predict EXPORT DIR --cells "
    "--out=cells.csv",
    EMBEDDINGS: "it embeds images: python -m hpa_jax.serving predict EXPORT DIR --out=FILE.h5ad "
    "(or .parquet), and similar",
}


def kind_of(description: Mapping[str, Any]) -> str:
    """What the net of an export is for, by its model.json."""
    return description.get("kind", LABELS)


def check_kind(description: Mapping[str, Any], folder: Path | str, *wanted: str) -> None:
    """Refuses an export whose net is for something else.

    Args:
      description: contents of its model.json.
      folder: of the export, for the message.
      wanted: some of the kinds above.

    Raises:
      InputError: says what it is for.
    """
    kind = kind_of(description)
    if kind in wanted:
        return
    use = _USES.get(kind, f"it is of the kind {kind!r}, which this version does not know")
    raise InputError(f"{folder} is an export of another kind: {use}")
