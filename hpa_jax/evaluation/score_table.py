"""A net's scores of some images with all that evaluating them needs, and the file that keeps them.

`WORKDIR/scores/SPLIT.npz` is what an evaluation leaves behind: `numpy.load(path)["scores"]` reads
it anywhere, and the next evaluation, report or ensemble need not run the net again. It holds no
pickle and none is read. A file is written completely or not at all, and one that is damaged is
refused.

Images are the same where dataset and Id are; nothing is matched by position.
"""

import io
import tokenize
import zipfile
import zlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from hpa_jax.environment.causes import advice
from hpa_jax.errors import InputError, one_line
from hpa_jax.evaluation.tta import in_current_words
from hpa_jax.files import write_atomically
from hpa_jax.labels import LABELS
from hpa_jax.metrics import single_label, thresholds

# Type and axes of each array: N images, L labels, S sources; no axis where it is a single value.
_LAYOUT = {
    "ids": ("U", "N"),
    "scores": ("f4", "NL"),
    "targets": ("u1", "NL"),
    "groups": ("i8", "N"),
    "folds": ("i8", "N"),
    "source": ("i4", "N"),
    "source_names": ("U", "S"),
    "label_ids": ("i8", "L"),
    "label_names": ("U", "L"),
    "split": ("U", ""),
    "checkpoint": ("i8", ""),
    "tta": ("U", ""),
    "thresholds": ("f8", "L"),
    "thresholds_split": ("U", ""),
    "key": ("U", ""),
    "original_ids": ("U", "N"),
    "single_label": ("?", ""),
}

# What an array is called in older files.
_OLD_NAMES = {"tta": "views", "original_ids": "ids"}

# What NumPy and zipfile raise where a byte of the archive was changed.
_DAMAGE = (
    ValueError,
    KeyError,
    EOFError,
    SyntaxError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    TypeError,
    AttributeError,
    IndexError,
)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of N images for L labels.

    Attributes:
      ids: of the images, those of one source after those of the other.
      scores: float32 [N, L], probabilities 0 to 1.
      targets: uint8 [N, L], 0 or 1.
      groups: int64 [N]; images of one group (near-duplicates, one antibody) lie in one split and
        one fold.
      folds: int64 [N], as stored with the dataset, -1 in its test split.
      source: int32 [N], which of `source_names`.
      source_names: the datasets.
      label_ids: the label id of each of the L columns, in the run's vocabulary.
      split: of the datasets, `validation` for instance.
      checkpoint: the step that was scored; -1 of an ensemble.
      tta: the test-time augmentation, in words (`tta.describe`).
      thresholds: float64 [L], fitted on `thresholds_split`; a label is predicted where its score is
        above.
      thresholds_split: '' where none were fitted, and all are 0.5. With `single_label`: the split
        that training evaluated.
      key: SHA-256 of all that the scores follow from (checkpoint, net, data, TTA); '' where the
        scores are not to be reused.
      original_ids: the Ids that the sources of the datasets gave the images, where `ids` are names
        made of them; by default the same.
      label_names: of the L columns. Files of version 0.2 and before have none: () stands for the
        names that the ids have in `hpa2018`.
      single_label: every image has exactly one label, the one with the largest score; `thresholds`
        count for nothing. False in files that do not say it.
      labels_known: False where nobody knows the labels of some images: their targets are 0. Such a
        table is not kept in a file.
    """

    ids: list[str]
    scores: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    source: np.ndarray
    source_names: tuple[str, ...]
    label_ids: tuple[int, ...]
    split: str
    checkpoint: int
    tta: str
    thresholds: np.ndarray
    thresholds_split: str = ""
    key: str = ""
    original_ids: list[str] = field(default_factory=list)
    label_names: tuple[str, ...] = ()
    labels_known: bool = True
    single_label: bool = False

    def __post_init__(self):
        if not self.label_names:
            names = tuple(LABELS[label] for label in self.label_ids)
            object.__setattr__(self, "label_names", names)
        if not self.original_ids:
            object.__setattr__(self, "original_ids", list(self.ids))

    def decide(self, *, fill_empty: bool = False) -> np.ndarray:
        """The labels predicted of each image, bool [N, L].

        Args:
          fill_empty: as for `hpa_jax.metrics.thresholds.decide`.
        """
        if self.single_label:
            return single_label.decide(self.scores)
        return thresholds.decide(self.scores, self.thresholds, fill_empty=fill_empty)

    def names(self) -> list[tuple[str, str]]:
        """(source, Id) of every image: with several datasets an Id alone may occur twice."""
        names = []
        for number, image_id in zip(self.source, self.ids, strict=True):
            names.append((self.source_names[number], image_id))
        return names

    def take(self, rows: np.ndarray) -> "ScoreTable":
        """The images at `rows` (int [K]), in that order."""
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            original_ids=[self.original_ids[row] for row in rows],
            scores=self.scores[rows],
            targets=self.targets[rows],
            groups=self.groups[rows],
            folds=self.folds[rows],
            source=self.source[rows],
        )


def average_tables(tables: list[ScoreTable]) -> ScoreTable:
    """Every image that one of the tables has, once, with the mean of its scores over those tables.

    Of folds that have no image in common this is all of them one after the other. What is a single
    value (checkpoint, thresholds, ...) is the first table's.

    Raises:
      InputError: an image that has other labels in one table than in another.
    """
    stacked = _stack(tables)
    # Images are numbered in the order of their first row.
    number_of: dict[tuple[str, str], int] = {}
    for name in stacked.names():
        number_of.setdefault(name, len(number_of))
    number = np.array([number_of[name] for name in stacked.names()])
    _, first_row = np.unique(number, return_index=True)
    different = (stacked.targets != stacked.targets[first_row[number]]).any(axis=1)
    if different.any():
        image_id = stacked.ids[int(np.argmax(different))]
        raise InputError(
            f"image {image_id!r} has other labels in the dataset of one run than in that of "
            "another: evaluate all runs on the same build"
        )
    total = np.zeros((len(first_row), stacked.scores.shape[1]))
    # Unlike `total[number] += ...` this adds every row of an image.
    np.add.at(total, number, stacked.scores)
    mean = total / np.bincount(number)[:, None]
    return replace(stacked.take(first_row), scores=mean.astype(np.float32))


def _stack(tables: list[ScoreTable]) -> ScoreTable:
    """The tables' images one after the other, sources by name."""
    source_names = []
    for table in tables:
        for name in table.source_names:
            if name not in source_names:
                source_names.append(name)
    source = []
    for table in tables:
        new_number = np.array([source_names.index(name) for name in table.source_names], np.int32)
        source.append(new_number[table.source])
    arrays = {}
    for name in ("scores", "targets", "groups", "folds"):
        arrays[name] = np.concatenate([getattr(table, name) for table in tables])
    return replace(
        tables[0],
        ids=[image_id for table in tables for image_id in table.ids],
        original_ids=[image_id for table in tables for image_id in table.original_ids],
        source=np.concatenate(source),
        source_names=tuple(source_names),
        **arrays,
    )


def match_images(tables: list[ScoreTable]) -> list[ScoreTable]:
    """Each table's rows of the images that all of them have, in the order of the first table.

    Raises:
      InputError: there is none, or one has other labels in one table than in another.
    """
    rows_by_table = []
    for table in tables:
        rows_by_table.append({name: row for row, name in enumerate(table.names())})
    common = [name for name in rows_by_table[0] if all(name in rows for rows in rows_by_table)]
    if not common:
        raise InputError(
            "the runs have no image in common: give each model the same folds and datasets"
        )
    matched = []
    for table, rows in zip(tables, rows_by_table, strict=True):
        matched.append(table.take(np.array([rows[name] for name in common])))
    # Only for its check of the labels.
    average_tables(matched)
    return matched


def save(path: Path, table: ScoreTable) -> None:
    """Writes `table` to `path` (.npz) completely or not at all, making its folder.

    Raises:
      OSError: it cannot be written.
    """
    arrays = {}
    for name, (kind, _) in _LAYOUT.items():
        arrays[name] = np.asarray(getattr(table, name), kind)
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, archive.getvalue())


def load(path: Path) -> ScoreTable:
    """Reads what `save` wrote, version 0.1's too.

    Raises:
      InputError: no such file, damaged, or not a table of scores.
    """
    try:
        arrays = _read_arrays(path)
        _check_arrays(arrays)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}; {advice(error)}") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a complete table of scores ({reason}); "
            "delete it and evaluate the run again"
        ) from None
    values = {}
    for one in fields(ScoreTable):
        if one.name not in _LAYOUT:
            continue
        array = arrays[one.name]
        if one.name in ("source_names", "label_ids", "label_names"):
            values[one.name] = tuple(array.tolist())
        elif one.name in ("ids", "original_ids") or array.ndim == 0:
            values[one.name] = array.tolist()
        else:
            values[one.name] = array
    values["tta"] = in_current_words(values["tta"])
    return ScoreTable(**values)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    # Read at once, so that an error of the system is one of the file and not of what it holds.
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as archive:
        # NumPy stops reading before the last CRC is compared.
        damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{damaged} is damaged")
    arrays = {}
    content.seek(0)
    with np.load(content, allow_pickle=False) as archive:
        for name in _LAYOUT:
            stored_name = name
            if name not in archive:
                stored_name = _OLD_NAMES.get(name, name)
            if name == "single_label" and name not in archive:
                arrays[name] = np.array(False)
                continue
            if name == "label_names" and name not in archive:
                arrays[name] = _names_of_2018(archive["label_ids"])
                continue
            arrays[name] = archive[stored_name]
    return arrays


def _names_of_2018(label_ids: np.ndarray) -> np.ndarray:
    """Of a file that is older than other vocabularies."""
    return np.array([LABELS[label] for label in label_ids], "U")


def _check_arrays(arrays: dict[str, np.ndarray]) -> None:
    """Raises ValueError where an array is not what `_LAYOUT` has of it."""
    sizes: dict[str, int] = {}
    for name, (kind, axes) in _LAYOUT.items():
        array = arrays[name]
        if kind == "U":
            right_type = array.dtype.kind == "U"
        else:
            right_type = array.dtype == np.dtype(kind)
        if not right_type or array.ndim != len(axes):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")
        for axis, size in zip(axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"{name} has shape {list(array.shape)}, others {sizes[axis]} on that axis"
                )
    if not np.isfinite(arrays["scores"]).all():
        raise ValueError("scores that are not finite")
    if (arrays["targets"] > 1).any():
        raise ValueError("targets other than 0 and 1")
    source = arrays["source"]
    if ((source < 0) | (source >= sizes["S"])).any():
        raise ValueError("an image of no source")
