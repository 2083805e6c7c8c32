"""What is told of an evaluation over the labels that a net and data of another vocabulary share."""

from typing import NamedTuple

from hpa_jax.config import Evaluate
from hpa_jax.data.label_map import LabelMap
from hpa_jax.errors import InputError
from hpa_jax.labels import Vocabulary


class CommonLabels(NamedTuple):
    """How labels were matched.

    Attributes:
      given: config.evaluate.label_map.
      net, data: vocabularies.
      map: of the first to the second.
      bare_images: that bear labels, and none that is compared.
    """

    given: str
    net: Vocabulary
    data: Vocabulary
    map: LabelMap
    bare_images: int

    def to_dict(self) -> dict:
        """As evaluation.json has it."""
        common = []
        for label in self.map.common:
            common.append(
                {
                    "name": label.name,
                    "net": self._net_names(label.net),
                    "data": self._data_names(label.data),
                }
            )
        return {
            "map": self.given,
            "net": self.net.name,
            "data": self.data.name,
            "common": common,
            "net_left_out": list(self.map.net_left_out),
            "data_left_out": list(self.map.data_left_out),
            "images_of_labels_left_out": self.bare_images,
        }

    def lines(self) -> list[str]:
        """For the terminal: what was compared, what stands for what, and what was left out."""
        lines = [
            f"label map {self.given}: {len(self.map.common)} labels are common to the net "
            f"({self.net.name}) and the data ({self.data.name})"
        ]
        for label in self.map.common:
            net = self._net_names(label.net)
            data = self._data_names(label.data)
            if net != data:
                lines.append(f"  {label.name}: net {', '.join(net)}; data {', '.join(data)}")
        lines.append(f"left out of the net's labels: {_listed(self.map.net_left_out)}")
        lines.append(f"left out of the data's labels: {_listed(self.map.data_left_out)}")
        if self.bare_images:
            lines.append(
                f"{self.bare_images} images bear only labels that are left out; they count as "
                "images of none of the common ones"
            )
        return lines

    def _net_names(self, positions: tuple[int, ...]) -> list[str]:
        return [self.map.net_names[i] for i in positions]

    def _data_names(self, label_ids: tuple[int, ...]) -> list[str]:
        return [self.data.labels[i] for i in label_ids]


def refuse_map(settings: Evaluate) -> None:
    """Raises an InputError where a map is given to what gives scores of the net's own labels."""
    if settings.label_map:
        raise InputError(
            f"config.evaluate.label_map={settings.label_map} is for --mode=evaluate of one run; "
            "leave it out"
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
