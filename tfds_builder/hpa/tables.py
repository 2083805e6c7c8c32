"""The csv files beside a dataset: fields.csv, duplicates.csv and rejects.csv."""

from collections.abc import Iterable
from pathlib import Path

from hpa_jax.files import write_csv
from tfds_builder.hpa.planning import Plan

# Column names are part of the dataset's format: `split/reference.py` and reports read them.
_IMAGE_COLUMNS = ("id", "part", "fold", "group", "family", "hash", "labels")
_PAIR_COLUMNS = ("a", "b", "distance")
_REJECT_COLUMNS = ("id", "file", "reason")


def write_tables(plan: Plan, folder: Path, manual_dir: Path | None) -> None:
    """Writes fields.csv, and the other two where they have rows.

    Files are named relative to `manual_dir`: the same rejects on another machine are the same
    bytes.
    """
    write_csv(folder / "fields.csv", _IMAGE_COLUMNS, _image_rows(plan))
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
                placed.split,
                placed.fold,
                placed.group,
                example.group_key,
                placed.hash.hex(),
                " ".join(map(str, example.labels)),
            )
