"""A net's scores of some fields with all that judging them needs, and the file that keeps them.

`WORKDIR/scores/PART.npz` is what an evaluation leaves behind: `numpy.load(path)["scores"]` reads it anywhere, and the
next evaluation, report or ensemble need not run the net again. No pickle is in it and none is read. A file is written
whole or not at all, and one that is damaged is refused, not guessed at.
"""

import io
import os
import tokenize
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError

# One axis of the arrays a letter: N fields, L labels; None where there is one value.
_LAYOUT = {
    "ids": ("U", "N"),
    "scores": ("f4", "NL"),
    "targets": ("u1", "NL"),
    "groups": ("i8", "N"),
    "folds": ("i8", "N"),
    "source": ("i4", "N"),
    "source_names": ("U", "S"),
    "label_ids": ("i8", "L"),
    "split": ("U", ""),
    "checkpoint": ("i8", ""),
    "views": ("U", ""),
    "thresholds": ("f8", "L"),
    "thresholds_split": ("U", ""),
    "key": ("U", ""),
}
_DAMAGE = (
    *(
        ValueError,
        KeyError,
        EOFError,
        SyntaxError,
        MemoryError,
        OverflowError,
        NotImplementedError,
        RuntimeError,
    ),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, TypeError, AttributeError, IndexError),
)
"""What NumPy and zipfile raise where a byte of the archive was changed."""


@dataclass(frozen=True)
class ScoreTable:
    """
    Attributes:
      ids: of the N fields, those of one source after those of the other.
      scores: float32 [N, L], probabilities 0 to 1.
      targets: uint8 [N, L], 0 or 1.
      groups: int64 [N], fields of one group (near-duplicates, one antibody) lie in one part and one fold.
      folds: int64 [N], as stored with the dataset, -1 in its test part.
      source: int32 [N], which of `source_names`.
      source_names: the datasets.
      label_ids: which of the 28 labels each of the L columns is.
      split: the part of the datasets, `validation` for instance.
      checkpoint: the step that was scored; -1 of an ensemble.
      views: how often and in which windows a field was looked at (views.describe).
      thresholds: float64 [L], fitted on `thresholds_split`; a label is predicted where its score is above.
      thresholds_split: '' where none were fitted, and all are 0.5.
      key: SHA-256 of all that the scores follow from (checkpoint, net, data, views); '' where nobody asks.
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
    views: str
    thresholds: np.ndarray
    thresholds_split: str = ""
    key: str = ""

    def names(self) -> list[tuple[str, str]]:
        """(source, Id) of every field: Ids alone may come twice where there are several datasets."""
        return [
            (self.source_names[number], field_id)
            for number, field_id in zip(self.source, self.ids, strict=True)
        ]


def save(path: Path, table: ScoreTable) -> None:
    """Writes `table` to `path` (.npz), making its folder; whole or not at all."""
    data = io.BytesIO()
    np.savez(
        data,
        **{f.name: np.asarray(getattr(table, f.name), _LAYOUT[f.name][0]) for f in fields(table)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> ScoreTable:
    """Reads what `save` wrote.

    Raises:
      InputError: no such file, damaged, or not a table of scores.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():  # NumPy stops reading before the last CRC is compared
                raise ValueError(f"{broken} is damaged")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _LAYOUT}
        _check(arrays)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); evaluate the run again"
        ) from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: no whole table of scores ({reason}); delete it and evaluate the run again"
        ) from None
    for name in ("ids", "source_names", "label_ids"):
        arrays[name] = arrays[name].tolist()
    for name in ("split", "checkpoint", "views", "thresholds_split", "key"):
        arrays[name] = arrays[name].item()
    return ScoreTable(
        **arrays
        | {"source_names": tuple(arrays["source_names"]), "label_ids": tuple(arrays["label_ids"])}
    )


def _check(arrays: dict[str, np.ndarray]) -> None:
    sizes: dict[str, int] = {}
    for name, (kind, axes) in _LAYOUT.items():
        array = arrays[name]
        right = array.dtype.kind == "U" if kind == "U" else array.dtype == np.dtype(kind)
        if not right or array.ndim != len(axes):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")
        for axis, size in zip(axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"{name} has shape {list(array.shape)}, others {sizes[axis]} on that axis"
                )
    if not (np.isfinite(arrays["scores"]).all() and (arrays["targets"] <= 1).all()):
        raise ValueError("scores that are no numbers, or targets other than 0 and 1")
    if ((arrays["source"] < 0) | (arrays["source"] >= sizes["S"])).any():
        raise ValueError("a field of no source")
