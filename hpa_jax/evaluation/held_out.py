"""Whether a run has learnt from the images that it is evaluated on.

Splits are kept apart when a dataset is built. A dataset that was built anew, or another one with
images of the same Ids, may hold out what a run has learnt from, and its scores would flatter it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpa_jax.data.catalog import read_digests
from hpa_jax.data.identity import count_known
from hpa_jax.errors import InputError
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.workdir import read_learned_ids, read_record


@dataclass(frozen=True)
class HeldOut:
    """What a run knows of the images of a table.

    Attributes:
      learned_images: how many of them it has learnt from, by their Ids; None where its folder does
        not tell.
      changed_splits: `{NAME: [SPLIT, ...]}`, the splits of its datasets that are not as they were
        at its first start; None where its folder does not tell.
      warnings: lines for the terminal.
    """

    learned_images: int | None
    changed_splits: dict[str, list[str]] | None
    warnings: Sequence[str] = ()

    def to_dict(self) -> dict:
        """What evaluation.json has of it; nothing of what is not known."""
        found = {}
        if self.learned_images is not None:
            found["learned_images"] = self.learned_images
        if self.changed_splits is not None:
            found["changed_splits"] = self.changed_splits
        return found

    def print_warnings(self) -> None:
        for warning in self.warnings:
            print(f"warning: {warning}", file=sys.stderr)


def check_held_out(workdir: Path, data_dir: str, table: ScoreTable) -> HeldOut:
    """Compares the images of a table with those that the run in `workdir` learns from.

    Args:
      workdir: the run's folder.
      data_dir: where the datasets of the table are.
      table: of its scores.

    Raises:
      InputError: a dataset is damaged.
    """
    record = read_record(workdir)
    warnings = []
    changed_splits = None
    if record.datasets:
        changed_splits = {}
        for name in table.source_names:
            changed = record.changed_splits(name, read_digests(data_dir, name).splits)
            if changed:
                changed_splits[name] = changed
                warnings.append(
                    f"the dataset {name} in {data_dir} is not the one that {workdir} was trained "
                    f"with: other Ids, labels or folds in {', '.join(changed)}"
                )
    learned = None
    try:
        learned = read_learned_ids(workdir)
    except InputError as error:
        warnings.append(f"how many images {workdir} has learnt from cannot be told: {error}")
    if learned is None:
        return HeldOut(None, changed_splits, warnings)
    count = count_known(table.ids, learned)
    if count:
        warnings.append(
            f"{workdir} has learnt from {count} of these {len(table.ids)} images of {table.split} "
            "(by their Ids): on them its scores say nothing about new images"
        )
    return HeldOut(count, changed_splits, warnings)
