"""What a checkpoint says of itself: a digest of each array, and which step of which run it is.

CHECKPOINTS/STEP/manifest.json is written last. A folder that lacks it was not written to the end,
or has lost something since. It is compared with what is read: one bit that is another in an array,
a step that was renamed, or one of another run is found before anything follows from it.

An array's digest covers its name, dtype, shape and values, not how it lies on devices. It is cut
into pieces, one for an array that is in one place; the processes of a run digest their own pieces.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

import hpa_jax
from hpa_jax.errors import InputError

FORMAT = 1
FILE_NAME = "manifest.json"


class DamagedCheckpoint(InputError):
    """A step that is not as it was written, or not of this place. The text is the reason alone."""


@dataclass(frozen=True)
class Piece:
    """A block of an array.

    Attributes:
      start: index of its first element in the array.
      values: of the block, on the host.
    """

    start: tuple[int, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json.

    Attributes:
      run: the id of the run (`hpa_jax.workdir.RunRecord`); "" in runs of older versions.
      step: number of steps done.
      position: in the data, of the first image that nothing is learned from yet; None if sealed
        later and not known.
      written: when, in ns since the epoch; None if sealed later and not known.
      datasets: `{NAME: {SPLIT: SHA-256}}` of the data of the run.
      metrics: of an evaluation of this state; empty without one.
      best: `{"metric", "value", "step"}` of the best checkpoint up to this one; empty without
        evaluations.
      arrays: `{NAME: {"dtype", "shape", "pieces": [{"start", "shape", "sha256"}]}}`.
      unlogged: `{METRIC: [VALUE, ...]}` of the training steps that no log line has averaged yet.
      hpa_jax: the version that wrote it.
      format: of this file.
    """

    run: str
    step: int
    position: int | None
    written: int | None
    datasets: dict[str, dict[str, str]]
    metrics: dict[str, Any]
    best: dict[str, Any]
    arrays: dict[str, dict[str, Any]]
    unlogged: dict[str, list[float]] = field(default_factory=dict)
    hpa_jax: str = field(default=hpa_jax.__version__)
    format: int = FORMAT

    def to_text(self) -> str:
        """The text of the file; the same for the same contents."""
        return _signed_text(dataclasses.asdict(self))

    def check(self, name: str, array: jax.Array | np.ndarray) -> None:
        """Compares an array that was read with what was saved.

        Pieces that no device of this process holds are left to the other processes.

        Raises:
          DamagedCheckpoint: they differ.
        """
        entry = self.arrays.get(name)
        if entry is None:
            raise DamagedCheckpoint(f"{name} was not saved with it")
        found = f"{array.dtype} {list(array.shape)}"
        expected = f"{entry['dtype']} {entry['shape']}"
        if found != expected:
            raise DamagedCheckpoint(f"{name} is {found} and was saved as {expected}")
        for piece in entry["pieces"]:
            values = _block(array, piece["start"], piece["shape"])
            if values is None:
                continue
            digest = _piece_digest(name, entry, Piece(tuple(piece["start"]), values))
            if digest != piece["sha256"]:
                raise DamagedCheckpoint(f"{name} has other values than were saved")

    def num_bytes(self) -> int:
        """Size of all arrays."""
        total = 0
        for entry in self.arrays.values():
            # NumPy alone does not know bfloat16.
            itemsize = jax.numpy.dtype(entry["dtype"]).itemsize
            total += int(np.prod(entry["shape"], dtype=np.int64)) * itemsize
        return total


def read(folder: Path) -> Manifest | None:
    """The manifest in the folder of a step; None where there is none.

    Raises:
      DamagedCheckpoint: it is not as it was written.
      InputError: it is of a later version.
      OSError: it cannot be read.
    """
    path = folder / FILE_NAME
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise DamagedCheckpoint(f"{FILE_NAME} is a folder") from None
    try:
        content = json.loads(raw)
        del content["sha256"]
        is_as_written = _signed_text(content).encode() == raw
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_as_written = False
    if not is_as_written:
        raise DamagedCheckpoint(f"{FILE_NAME} is not as it was written")
    if content["format"] > FORMAT:
        raise InputError(
            f"{path} is of format {content['format']}, written by hpa_jax {content['hpa_jax']}; "
            f"hpa_jax {hpa_jax.__version__} reads formats up to {FORMAT}: install a newer one"
        )
    return Manifest(**content)


def _signed_text(content: dict[str, Any]) -> str:
    signed = {**content, "sha256": _digest(content)}
    lines = []
    for key, value in sorted(signed.items()):
        text = json.dumps(value, sort_keys=True)
        if key == "arrays":
            # There may be thousands: a line each.
            entries = [
                f"  {json.dumps(n)}: {json.dumps(e, sort_keys=True)}" for n, e in value.items()
            ]
            text = "{\n" + ",\n".join(sorted(entries)) + "\n }"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def leaf_name(path: tuple) -> str:
    """Name of a leaf, the same in a state and in Orbax's metadata of dicts and lists."""
    names = []
    for key in path:
        name = getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))
        names.append(str(name))
    return "/".join(names)


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by name."""
    return {leaf_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def own_pieces(array: jax.Array | np.ndarray, *, is_primary: bool) -> list[Piece]:
    """Copies of the blocks of an array that this process answers for, each in one process only.

    Args:
      array: on devices, or on the host of every process.
      is_primary: whether this is the first process, which answers for arrays on the host.
    """
    if not isinstance(array, jax.Array):
        return [Piece((0,) * np.ndim(array), np.array(array))] if is_primary else []
    pieces = []
    for shard in array.addressable_shards:
        if shard.replica_id == 0:
            start = tuple(part.start or 0 for part in shard.index)
            # A copy: on CPUs the next step may write where this array is.
            pieces.append(Piece(start, np.array(shard.data)))
    return pieces


def describe(name: str, array: jax.Array | np.ndarray, pieces: Sequence[Piece]) -> dict[str, Any]:
    """The entry of an array in a manifest, with the digests of these pieces of it."""
    entry = {"dtype": str(array.dtype), "shape": list(array.shape), "pieces": []}
    for piece in pieces:
        described = {
            "start": list(piece.start),
            "shape": list(piece.values.shape),
            "sha256": _piece_digest(name, entry, piece),
        }
        entry["pieces"].append(described)
    return entry


def _piece_digest(name: str, entry: Mapping[str, Any], piece: Piece) -> str:
    values = np.ascontiguousarray(piece.values)
    what = [name, str(values.dtype), entry["shape"], list(piece.start), list(piece.values.shape)]
    digest = hashlib.sha256(json.dumps(what).encode())
    digest.update(values.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def merge(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One entry an array out of those of the processes.

    Raises:
      ValueError: the pieces of an array are not the entire array.
    """
    merged = {}
    for part in parts:
        for name, entry in part.items():
            known = merged.setdefault(name, {**entry, "pieces": []})
            known["pieces"] += entry["pieces"]
    for name, entry in merged.items():
        entry["pieces"].sort(key=lambda piece: piece["start"])
        covered = sum(int(np.prod(piece["shape"])) for piece in entry["pieces"])
        if covered != int(np.prod(entry["shape"])):
            raise ValueError(f"the digests of {name} are not those of the entire array")
    return merged


def _block(
    array: jax.Array | np.ndarray, start: Sequence[int], shape: Sequence[int]
) -> np.ndarray | None:
    """The values of a block, or None where they lie on devices of another process."""
    block = tuple(slice(low, low + size) for low, size in zip(start, shape, strict=True))
    is_here = getattr(array, "is_fully_addressable", True)
    if is_here or array.is_fully_replicated:
        return np.asarray(array)[block]
    for shard in array.addressable_shards:
        low = [part.start or 0 for part in shard.index]
        inside = [slice(s.start - b, s.stop - b) for s, b in zip(block, low, strict=True)]
        ends = zip(inside, shard.data.shape, strict=True)
        if all(part.start >= 0 and part.stop <= size for part, size in ends):
            return np.asarray(shard.data)[tuple(inside)]
    return None
