"""The csv files beside a dataset: images.csv, duplicates.csv and rejects.csv."""

from collections.abc import Iterable
from pathlib import Path

from hpa_jax.files import write_csv
from tfds_builder.hpa.build import Plan

# Column names are part of the dataset's format: `split/reference.py` and reports read them.
_IMAGE_COLUMNS = (
    "id",
    "original_id",
    "split",
    "fold",
    "group",
    "group_key",
    "labels",
    "labels_known",
    "hash",
)
_PAIR_COLUMNS = ("a", "b", "distance")
_REJECT_COLUMNS = ("id", "file", "reason")


def write_tables(plan: Plan, folder: Path, manual_dir: Path | None) -> None:
    """Writes images.csv, and the other two where they have rows.

    Files are named relative to `manual_dir`: the same rejects on another machine are the same
    bytes.
    """
    write_csv(folder / "images.csv", _IMAGE_COLUMNS, _image_rows(plan))
    if plan.duplicates:
        write_csv(folder / "duplicates.csv", _PAIR_COLUMNS, plan.duplicates)
    if plan.rejects:
        rows = []
        for fault in plan.rejects:
            file = fault.file.removeprefix(f"{manual_dir}/")
            rows.append((fault.id, file, fault.reason))
        write_csv(folder / "rejects.csv", _REJECT_COLUMNS, rows)


def _image_rows(plan: Plan) -> Iterable[tuple]:
    for members in plan.splits.values():
        for placed in members:
            example = placed.example
            yield (
                example.id,
                example.original_id or example.id,
                placed.split,
                placed.fold,
                placed.group,
                example.group_key,
                " ".join(map(str, example.labels)),
                int(example.labels_known),
                placed.hash.hex(),
            )
