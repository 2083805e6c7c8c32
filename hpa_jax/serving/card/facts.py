"""What a model card is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpa_jax.config import Config, listed
from hpa_jax.labels import HPA_2018, LABEL_SETS
from hpa_jax.serving.card.evaluation import Evaluation, read_evaluation, untempered
from hpa_jax.serving.card.markdown import plain
from hpa_jax.serving.decision import is_single_label


@dataclass(frozen=True)
class Facts:
    """Of one export.

    Attributes:
      description: the contents of model.json.
      files: names of what lies beside the card.
      evaluation: of the checkpoint; None if there is none.
      why_no_evaluation: the reason then.
      licence: SPDX identifier; "": not stated.
      authors: names; (): not stated.
    """

    description: dict[str, Any]
    files: tuple[str, ...]
    evaluation: Evaluation | None
    why_no_evaluation: str
    licence: str
    authors: tuple[str, ...]

    @property
    def net(self) -> str:
        """Name of the backbone."""
        return self._trained("model", "name")

    @property
    def head(self) -> str:
        return self._trained("model", "head")

    @property
    def pretrained(self) -> str:
        """Name of the weights that training started from; "" if they were random."""
        return self._trained("model", "pretrained")

    @property
    def labels(self) -> list[str]:
        """Names, in the order of the net's outputs."""
        return [label["name"] for label in self.description["labels"]]

    @property
    def is_of_the_atlas(self) -> bool:
        """Whether the labels are those of the Atlas, places of proteins, and not a user's own."""
        return self.description.get("vocabulary", HPA_2018.name) in LABEL_SETS

    @property
    def task(self) -> str:
        """What the net does, in two words."""
        if self.is_of_the_atlas:
            return "Protein localisation"
        return "Image classification"

    @property
    def parts(self) -> tuple[str, ...]:
        """The nets that a fused one is made of; of any other none."""
        fusion = self.description["provenance"]["config"].get("fusion", {})
        return tuple(fusion.get("parts", ()))

    @property
    def size(self) -> int:
        """Px a side of the images."""
        return self.description["input"]["shape"][1]

    @property
    def datasets(self) -> list[str]:
        """Names of those that the net has learnt from."""
        data = self.description["provenance"]["config"]["data"]
        names = [source.partition(":")[0] for source in data.get("sources") or ()]
        return names or [data["name"]]

    def _trained(self, section: str, name: str) -> str:
        return self.description["provenance"]["config"][section][name]


def gather(
    config: Config, description: dict[str, Any], files: Sequence[str], folders: Sequence[Path]
) -> Facts:
    """Facts of an export.

    Args:
      config: that it is exported with.
      description: the contents of model.json.
      files: names of what will lie beside the card.
      folders: that may hold the run's evaluation.json.
    """
    labels = [label["name"] for label in description["labels"]]
    evaluation = None
    reason = ""
    try:
        step = description["provenance"]["checkpoint"]
        evaluation = read_evaluation(folders, step, labels)
        if description.get("temperature", 1.0) != 1:
            # Evaluated without it. F1 at 0.5 stays, since the temperature leaves 0.5 where it is.
            evaluation = untempered(evaluation, single_label=is_single_label(description))
    except ValueError as error:
        reason = str(error)
    return Facts(
        description=description,
        files=tuple(files),
        evaluation=evaluation,
        why_no_evaluation=reason,
        licence=config.export.licence,
        authors=tuple(plain(name) for name in listed(config.export.authors)),
    )
