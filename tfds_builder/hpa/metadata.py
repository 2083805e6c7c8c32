"""What metadata.json of a dataset says; `hpa_jax/data/metadata.py` reads and checks it.

It is written twice: by TFDS with all that is known of a plan, and again when the shards, indexes
and tables are there, with digests of them.
"""

import json
from pathlib import Path

import numpy as np

from hpa_jax.data.identity import split_digest
from hpa_jax.data.metadata import FILE_NAME, FORMAT, file_digest, records_digest, seal
from hpa_jax.data.shard_index import ShardIndex, index_path
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.build import Build, Placed, Plan

VERSION = f"{FORMAT}.0.0"
"""Of the datasets that are written."""

# By TFDS, beside metadata.json, and by `tables.py`.
_HASHED = ("*.json", "*.txt", "*.csv")


def describe(build: Build, plan: Plan) -> dict:
    """The metadata of a planned dataset, as JSON."""
    digests = {split: _digest(members) for split, members in plan.splits.items()}
    settings = build.settings()
    return seal(
        {
            "format": FORMAT,
            "vocabulary": build.source.vocabulary.to_json(),
            "channels": _channels(plan.statistics),
            "pixel_size": _pixel_size(settings, plan.pixel_size),
            "build": settings,
            "statistics": plan.statistics,
            "digests": digests,
        }
    )


def add_digests(folder: Path) -> None:
    """Adds `records` and `files` to the metadata of the dataset in `folder`, which is complete."""
    path = folder / FILE_NAME
    metadata = json.loads(path.read_text(encoding="utf-8"))
    records = {}
    for shard in sorted(folder.glob("*.tfrecord-*")):
        index = ShardIndex.from_bytes(index_path(shard).read_bytes())
        records[shard.name] = records_digest(index.rows["crc"])
    names = {file.name for pattern in _HASHED for file in folder.glob(pattern)}
    files = {name: file_digest(folder / name) for name in sorted(names - {FILE_NAME})}
    text = json.dumps(seal({**metadata, "records": records, "files": files}))
    path.write_text(text, encoding="utf-8")


def _digest(members: list[Placed]) -> str:
    examples = [placed.example for placed in members]
    return split_digest(
        [example.id for example in examples],
        [example.labels for example in examples],
        [placed.fold for placed in members],
    )


def _channels(statistics: dict) -> list[dict]:
    """The stored channels in order; one that is 0 in all images was not imaged."""
    shown = np.asarray(statistics["histogram"])[:, 1:].any(axis=1)
    channels = []
    for name, imaged in zip(CHANNELS, shown.tolist(), strict=True):
        channels.append({"name": name, "imaged": imaged})
    return channels


def _pixel_size(settings: dict, said: float | None) -> float | None:
    """Micrometres a pixel of the stored images; None where it is unknown or differs.

    Args:
      settings: of the build.
      said: what all files say of themselves.
    """
    if settings.get("rescaled_to"):
        return settings["rescaled_to"]
    # `edge` brings images of any size to one.
    if settings.get("edge"):
        return None
    return settings.get("pixel_size") or said
