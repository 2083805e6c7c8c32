"""What a run is, besides its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpa_jax.environment.dataset_names import bare_name

FORMAT = 2
"""The format of the runs that this version writes; the older ones (1) have no record in them."""


@dataclass(frozen=True)
class RunRecord:
    """What a run is, besides its settings.

    Attributes:
      format: of its folder; 1: a run of version 0.2 or before, which has no record.
      id: 32 hex digits, drawn at the first start; "" in format 1.
      datasets: `{NAME: {SPLIT: SHA-256}}` of the data that it learns from and is evaluated on, as
        `hpa_jax.data.identity.DataIdentity` has it; empty in format 1.
      images: the same, of the stored images.
      learned_ids: SHA-256 of the values in LEARNED_IDS; "" where there is no such file.
      versions: `{NAME: VERSION}` of its datasets; empty in a run that did not record them.
      preparations: `{NAME: ...}`, how the images of these datasets were made, as
        `hpa_jax.data.preparation.read_preparation` has it; empty in runs of version 0.2 and before.
    """

    format: int
    id: str
    datasets: dict[str, dict[str, str]] = field(default_factory=dict)
    images: dict[str, dict[str, str]] = field(default_factory=dict)
    learned_ids: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    preparations: dict[str, dict[str, Any]] = field(default_factory=dict)

    def changed_splits(self, name: str, now: Mapping[str, str]) -> list[str]:
        """Splits of the dataset `name` that are not those of the first start.

        Args:
          name: of the dataset; nothing is known of one that the run does not use.
          now: SHA-256 of each split.
        """
        then = self.datasets.get(bare_name(name), {})
        return [split for split, digest in then.items() if now.get(split) != digest]
