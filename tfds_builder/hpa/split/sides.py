"""Whether images of one group key, an antibody mostly, lie in several splits of a built dataset.

It is read back from images.csv, the dataset's own record of where each image is.
"""

import csv
from pathlib import Path

from hpa_jax.errors import one_line
from tfds_builder.hpa.build import UNLABELLED


def splits_of_keys(table: Path) -> dict[str, set[str]]:
    """The splits in which each group key lies; images without labels are on no side.

    Args:
      table: images.csv of a dataset.
    """
    found: dict[str, set[str]] = {}
    with open(table, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["group_key"] and row["split"] != UNLABELLED:
                found.setdefault(row["group_key"], set()).add(row["split"])
    return found


def describe(table: Path) -> str:
    """One line on the group keys of a dataset, with its end; empty where it has none."""
    try:
        found = splits_of_keys(table)
    except (OSError, KeyError, ValueError, csv.Error) as error:
        return f"{table} cannot be read ({one_line(error)}): copy or build the dataset again.\n"
    if not found:
        return ""
    torn = sum(len(splits) > 1 for splits in found.values())
    return f"{torn} of {len(found)} group keys lie in several splits.\n"
