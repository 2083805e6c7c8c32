"""Which labels of two vocabularies are common, for a net of one that is evaluated on data of other.

A label of one vocabulary may stand for several of the other: `Actin filaments` of 2021 are actin
filaments or focal adhesion sites of 2018. What is compared is then the coarser of the two: its
score is the largest of those that it stands for, and an image has it that has one of them.

Sources of what is finer than the 19 of 2021:
  the names of the classes of that challenge's cells in Cell-DINO (facebookresearch/dinov2, data
  loader HPAone: "centrosome,centriolar satellite", "plasma membrane,cell junctions", ...), which
  are those of Dino4Cells as well (`num_to_protein_single_cells`).
Dino4Cells maps more (`whole2single`): microtubule ends to microtubules, the mitotic chromosome to
the mitotic spindle, and rods & rings and the rim of nucleoli to no staining. The challenge's
classes do not say so, and it is not done here: those labels are left out.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.environment.causes import advice
from hpa_jax.errors import InputError, one_line
from hpa_jax.labels import HPA_2018, HPA_2021, SUBCELL, Vocabulary

PUBLISHED = "published"

_VESICLES = "Vesicles and punctate cytosolic patterns"
FINER_THAN_2021 = {
    "Focal adhesion sites": "Actin filaments",
    "Centriolar satellite": "Centrosome",
    "Cell junctions": "Plasma membrane",
    "Vesicles": _VESICLES,
    "Peroxisomes": _VESICLES,
    "Endosomes": _VESICLES,
    "Lysosomes": _VESICLES,
    "Lipid droplets": _VESICLES,
    "Cytoplasmic bodies": _VESICLES,
}
"""Labels of 2018 and of SubCell that have another name in 2021, or none but a coarser label's."""

_KNOWN = (HPA_2018.name, SUBCELL.name, HPA_2021.name)
_COLUMNS = ["net", "data"]


class Common(NamedTuple):
    """What two vocabularies have in common.

    Attributes:
      name: of the coarser of the two.
      net: positions of the net's labels that make it up.
      data: label ids of the data that make it up.
    """

    name: str
    net: tuple[int, ...]
    data: tuple[int, ...]


class LabelMap(NamedTuple):
    """The common labels of a net and of data.

    Attributes:
      common: in the order of the data's labels.
      net_names: of the net's labels, by position.
      net_left_out: names of the net's labels that stand for none of the data's.
      data_left_out: the same of the data's labels.
    """

    common: tuple[Common, ...]
    net_names: tuple[str, ...]
    net_left_out: tuple[str, ...]
    data_left_out: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.common)

    def scores(self, scores: np.ndarray, *, exclusive: bool = False) -> np.ndarray:
        """The scores of the common labels, float32 [N, C].

        Args:
          scores: of the net, float32 [N, L].
          exclusive: an image has one label alone, so that the probabilities of several add up to
            that of any of them; else the largest counts.
        """
        columns = []
        for label in self.common:
            finer = scores[:, list(label.net)]
            columns.append(finer.sum(axis=1) if exclusive else finer.max(axis=1))
        return np.stack(columns, axis=1)

    def targets(self, targets: np.ndarray) -> np.ndarray:
        """uint8 [N, C] of the data's targets, uint8 [N, L]: 1 where one of them is."""
        columns = [targets[:, list(label.data)].max(axis=1) for label in self.common]
        return np.stack(columns, axis=1)

    def bare_images(self, targets: np.ndarray) -> int:
        """How many images of targets [N, L] bear labels, and none that is compared."""
        compared = self.targets(targets).any(axis=1)
        return int(np.count_nonzero(targets.any(axis=1) & ~compared))


def make_map(given: str, net: Vocabulary, learnt: Sequence[str], data: Vocabulary) -> LabelMap:
    """The common labels of a net and of data.

    Args:
      given: `published`, or a csv with the columns net and data: a row for each label of the net
        that counts as a label of the data.
      net: vocabulary of the net.
      learnt: names of its labels that the net scores, in the order of its scores.
      data: vocabulary of the data.

    Raises:
      InputError: no map of these two is known, a file cannot be read or names an unknown label, or
        nothing is in common.
    """
    if given == PUBLISHED:
        pairs = _published_pairs(net, data)
    else:
        pairs = _pairs_of_file(Path(given), net, data)
    found = _join(pairs, tuple(learnt), data.labels)
    if not found.common:
        raise InputError(
            f"config.evaluate.label_map={given}: the net's labels of {net.name} and the data's of "
            f"{data.name} have none in common"
        )
    return found


def _published_pairs(net: Vocabulary, data: Vocabulary) -> list[tuple[str, str]]:
    if net.name not in _KNOWN or data.name not in _KNOWN:
        raise InputError(
            f"config.evaluate.label_map={PUBLISHED} is for {', '.join(_KNOWN)}; the net's labels "
            f"are {net.name}, the data's {data.name}: give a csv with the columns net,data"
        )
    finer = FINER_THAN_2021 if HPA_2021.name in (net.name, data.name) else {}
    pairs = []
    for one in net.labels:
        for other in data.labels:
            if _coarse(one, finer) == _coarse(other, finer):
                pairs.append((one, other))
    return pairs


def _coarse(label: str, finer: dict[str, str]) -> str:
    """The name that is compared, in one case."""
    by_name = {name.casefold(): coarse for name, coarse in finer.items()}
    return by_name.get(label.casefold(), label).casefold()


def _pairs_of_file(path: Path, net: Vocabulary, data: Vocabulary) -> list[tuple[str, str]]:
    setting = f"config.evaluate.label_map={path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{setting} is not {PUBLISHED}, and there is no such file; give one of the two"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{setting} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{setting} cannot be read ({one_line(error)}); {advice(error)}") from None
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
    except (csv.Error, ValueError):
        header, rows = [], []
    if [cell.strip().casefold() for cell in header] != _COLUMNS:
        raise InputError(
            f"{setting} does not begin with the line net,data; give a csv of those two columns, a "
            "row for each label of the net that counts as a label of the data"
        )
    pairs = []
    for row in rows:
        names = [" ".join(cell.split()) for cell in row]
        if len(names) != len(_COLUMNS):
            raise InputError(f"{setting} has a row of {len(names)} cells ({row[0]}); give two")
        for name, vocabulary in zip(names, (net, data), strict=True):
            if not vocabulary.has(name):
                raise InputError(f"{setting} has {name[:80]!r}, no label of {vocabulary.name}")
        pairs.append((net.labels[net.ids_by_name(names[:1])[0]], names[1]))
    return pairs


def _join(
    pairs: Sequence[tuple[str, str]], net: tuple[str, ...], data: tuple[str, ...]
) -> LabelMap:
    """What hangs together by pairs is one common label."""
    number_of_net = {name.casefold(): number for number, name in enumerate(net)}
    number_of_data = {name.casefold(): number for number, name in enumerate(data)}
    # Of each label of the data, those that are one with it so far.
    parts: list[tuple[set[int], set[int]]] = []
    for one, other in pairs:
        if one.casefold() not in number_of_net:
            continue
        merged = ({number_of_net[one.casefold()]}, {number_of_data[other.casefold()]})
        apart = []
        for part in parts:
            if part[0] & merged[0] or part[1] & merged[1]:
                merged = (part[0] | merged[0], part[1] | merged[1])
            else:
                apart.append(part)
        parts = [*apart, merged]
    parts.sort(key=lambda part: min(part[1]))
    common = []
    for net_ids, data_ids in parts:
        name = _name([net[i] for i in sorted(net_ids)], [data[i] for i in sorted(data_ids)])
        common.append(Common(name, tuple(sorted(net_ids)), tuple(sorted(data_ids))))
    used_of_net = {i for label in common for i in label.net}
    used_of_data = {i for label in common for i in label.data}
    return LabelMap(
        tuple(common),
        net,
        tuple(name for i, name in enumerate(net) if i not in used_of_net),
        tuple(name for i, name in enumerate(data) if i not in used_of_data),
    )


def _name(net: list[str], data: list[str]) -> str:
    """The coarser side's name: of the one label that stands for several."""
    if len(data) > 1 and len(net) == 1:
        return net[0]
    return " / ".join(data)
