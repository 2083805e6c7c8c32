"""Reads the arrays of a file of weights, whatever wrote it; told apart by content, not by suffix.

A `.pth` is read by PyTorch itself with `weights_only=True`, which builds tensors and runs no code
of the file; HDF5 by h5py. Both are in the optional extra `weights` and imported only where such a
file is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hpa_jax.environment.causes import advice
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import read_json

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
EXTRA = "install the extra 'weights': pip install -e '.[weights]'"
_STATE_DICT = "give what torch.save(model.state_dict(), FILE) wrote"
# Of what people save from a training, by the usual names.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net")
_INDEX_SUFFIX = ".index.json"
_LIMIT = 160  # characters of what a library says of a damaged file


class Raw(NamedTuple):
    """The arrays of a file.

    Attributes:
      layout: 'torch' (dots between the parts of a key), 'ours' (our exports), 'keras_legacy' or
        'keras_3'.
      arrays: by the file's own keys, in its order; of legacy Keras "layer/weight".
      inside: the key under which a training's checkpoint has them, "" where they are all there is.
    """

    layout: str
    arrays: dict[str, np.ndarray]
    inside: str = ""


def read(path: Path) -> Raw:
    """The arrays of a `.pth`, `.ckpt`, `.safetensors`, `.h5` or `.weights.h5`.

    Or of all the files that an index names (`model.safetensors.index.json`).

    Raises:
      InputError: the file cannot be read, is none of these, is damaged, or needs a package that
        is not installed.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(16)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}; {advice(error)}") from error
    if head.startswith(HDF5):
        return _hdf5(path)
    if head.startswith((ZIP, PICKLE)):
        arrays, inside = _torch(path)
        return Raw("torch", arrays, inside)
    if is_index(path):
        return _indexed(path)
    # The length of a safetensors file's header, and the header, which is JSON.
    header_length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_length <= size - 8:
        return _safetensors(path)
    raise InputError(
        f"{path} begins with {head!r}, which no .pth, .safetensors or .h5 file of weights does; "
        "fetch it again"
    )


def is_index(path: Path) -> bool:
    """Whether a file is one that names others, which hold the arrays."""
    return path.name.endswith(_INDEX_SUFFIX)


def keys_by_file(index: Path) -> dict[str, list[str]]:
    """The names of the files that an index names, with the keys that each holds.

    Raises:
      InputError: it cannot be read, or names a file that is not beside it.
    """
    content = read_json(index, advice="fetch it again")
    places = content.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{index} has no weight_map, which says where arrays are; fetch it again")
    found: dict[str, list[str]] = {}
    for key, file in places.items():
        # Nothing outside of its folder is read.
        if not isinstance(file, str) or Path(file).name != file or is_index(Path(file)):
            raise InputError(f"{index} names {file!r}, which is no file beside it; fetch it again")
        found.setdefault(file, []).append(key)
    for file in found:
        if not (index.parent / file).is_file():
            raise InputError(
                f"{index} names {file} ({len(found)} files in all), which is not beside it; fetch "
                "all of them"
            )
    return found


def _safetensors(path: Path) -> Raw:
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no complete .safetensors file ({one_line(error, _LIMIT)}); fetch it again"
        ) from error
    is_export = any(name.startswith(("params/", "batch_stats/")) for name in arrays)
    return Raw("ours" if is_export else "torch", arrays)


def _indexed(path: Path) -> Raw:
    """The arrays of all files that an index names."""
    arrays = {}
    for file, keys in keys_by_file(path).items():
        part = read(path.parent / file)
        lacking = [key for key in keys if key not in part.arrays]
        if lacking:
            raise InputError(
                f"{path.parent / file} has no {lacking[0]!r}, which {path.name} says is in it; "
                "fetch both again"
            )
        twice = [key for key in part.arrays if key in arrays]
        if twice:
            raise InputError(
                f"{path.parent / file} has {twice[0]!r}, as another of the files of {path.name} "
                "has; fetch them again"
            )
        arrays |= part.arrays
    return Raw("torch", arrays)


def _torch(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a file, and the key under which it has them."""
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path} is a file of PyTorch's, which is not installed; {EXTRA}"
        ) from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    # PyTorch raises many types for a damaged file, and for one that has more than tensors.
    except Exception as error:
        raise InputError(
            f"{path} is no complete file of tensors alone ({one_line(error, _LIMIT)}); "
            f"{_STATE_DICT}"
        ) from error
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{path} holds a {type(loaded).__name__}; {_STATE_DICT}")
    inside = _inside(loaded, torch.Tensor)
    if inside:
        loaded = loaded[inside]
    arrays = {}
    for key, tensor in loaded.items():
        if not (isinstance(key, str) and isinstance(tensor, torch.Tensor)):
            raise InputError(f"{path}: {key!r} is no tensor; {_STATE_DICT}")
        # NumPy has no bfloat16.
        if tensor.is_floating_point():
            tensor = tensor.float()
        arrays[key] = tensor.detach().contiguous().numpy()
    return arrays, inside


def _inside(loaded: Mapping, tensor: type) -> str:
    """The key under which a checkpoint of a training has the net's weights.

    Lightning has them under `state_dict`, beside the optimizer's state and the epoch. "" where the
    file has the tensors themselves, or nobody can tell where they are.
    """
    if any(isinstance(value, tensor) for value in loaded.values()):
        return ""
    candidates = []
    for key, value in loaded.items():
        if not isinstance(value, Mapping) or not value:
            continue
        if all(isinstance(item, tensor) for item in value.values()):
            candidates.append(key)
    for usual in _STATE_DICT_KEYS:
        if usual in candidates:
            return usual
    return candidates[0] if len(candidates) == 1 else ""


def _hdf5(path: Path) -> Raw:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path} is an HDF5 file and h5py is not installed; {EXTRA}") from None
    try:
        with h5py.File(path, "r") as file:
            # A complete model, weights and all, keeps the legacy layout one folder down.
            group = file["model_weights"] if "model_weights" in file else file
            if "layer_names" in group.attrs or "layer_names0" in group.attrs:
                return Raw("keras_legacy", _legacy(group))
            arrays: dict[str, np.ndarray] = {}

            def add(key: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    arrays[key] = item[()]

            file.visititems(add)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} is no complete HDF5 file of Keras's ({one_line(error, _LIMIT)}); "
            "fetch it again"
        ) from error
    return Raw("keras_3", arrays)


def _legacy(group: Any) -> dict[str, np.ndarray]:
    """`layer/weight` to array, the layers in the file's order, by which Keras itself goes."""
    arrays = {}
    for layer in _listed(group.attrs, "layer_names"):
        for weight in _listed(group[layer].attrs, "weight_names"):
            leaf = weight.rpartition("/")[2].partition(":")[0]
            arrays[f"{layer}/{leaf}"] = group[layer][weight][()]
    return arrays


def _listed(attributes: Any, name: str) -> list[str]:
    """A list of names.

    Keras splits one that is longer than an attribute may be into `name0`, `name1`, ...
    """
    parts = [attributes[name]] if name in attributes else []
    while f"{name}{len(parts)}" in attributes:
        parts.append(attributes[f"{name}{len(parts)}"])
    values = []
    for part in parts:
        for value in part:
            values.append(value.decode() if isinstance(value, bytes) else str(value))
    return values
