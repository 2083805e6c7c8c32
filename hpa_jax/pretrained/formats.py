"""Reads the arrays of a file of weights, whatever wrote it; told apart by content, not by suffix.

Unusual: a `.pth` is read by PyTorch itself with `weights_only=True`, which builds tensors and runs no code of the file;
HDF5 by h5py. Both are in the optional extra `weights` and imported only where such a file is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hpa_jax.errors import InputError

HDF5, ZIP, PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80"
EXTRA = "install the extra 'weights': pip install -e '.[weights]'"


class Raw(NamedTuple):
    """
    Attributes:
      layout: 'torch' (dots between the parts of a key), 'ours' (our exports), 'keras_legacy' or 'keras_3'.
      arrays: by the file's own keys, in its order; of legacy Keras "layer/weight".
    """

    layout: str
    arrays: dict[str, np.ndarray]


def read(path: Path) -> Raw:
    """The arrays of a `.pth`, `.safetensors`, `.h5` or `.weights.h5`.

    Raises:
      InputError: the file cannot be read, is none of these, is damaged, or needs a package that is not installed.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(16)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); set config.model.pretrained"
        ) from error
    if head.startswith(HDF5):
        return _hdf5(path)
    if head.startswith((ZIP, PICKLE)):
        return Raw("torch", _torch(path))
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return _safetensors(path)
    raise InputError(
        f"{path} begins with {head!r}, which no .pth, .safetensors or .h5 file of weights does; fetch it again"
    )


def _safetensors(path: Path) -> Raw:
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no whole .safetensors file ({_first_line(error)}); fetch it again"
        ) from error
    ours = any(name.startswith(("params/", "batch_stats/")) for name in arrays)
    return Raw("ours" if ours else "torch", arrays)


def _torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path} is a file of PyTorch's, which is not installed; {EXTRA}"
        ) from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises many types for a damaged file, and for one that holds more than tensors
        raise InputError(
            f"{path} is no whole file of tensors alone ({_first_line(error)}); give what "
            "torch.save(model.state_dict(), FILE) wrote"
        ) from error
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(
            f"{path} holds a {type(loaded).__name__}; give what torch.save(model.state_dict(), FILE) wrote"
        )
    for key, value in loaded.items():
        if not (isinstance(key, str) and isinstance(value, torch.Tensor)):
            raise InputError(
                f"{path}: {key!r} is no tensor; give what torch.save(model.state_dict(), FILE) wrote"
            )
    return {
        key: (tensor.float() if tensor.is_floating_point() else tensor)
        .detach()
        .contiguous()
        .numpy()
        for key, tensor in loaded.items()
    }


def _hdf5(path: Path) -> Raw:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path} is an HDF5 file and h5py is not installed; {EXTRA}") from None
    try:
        with h5py.File(path, "r") as file:
            # A whole model, weights and all, keeps the legacy layout one folder down.
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
            f"{path} is no whole HDF5 file of Keras's ({_first_line(error)}); fetch it again"
        ) from error
    return Raw("keras_3", arrays)


def _legacy(group: Any) -> dict[str, np.ndarray]:
    """`layer/weight` to array, the layers in the file's order: the one that Keras itself goes by."""
    arrays = {}
    for layer in _listed(group.attrs, "layer_names"):
        for weight in _listed(group[layer].attrs, "weight_names"):
            leaf = weight.rpartition("/")[2].partition(":")[0]
            arrays[f"{layer}/{leaf}"] = group[layer][weight][()]
    return arrays


def _listed(attributes: Any, name: str) -> list[str]:
    """A list of names, which Keras cuts into `name0`, `name1`, ... where it is longer than an attribute may be."""
    parts = [attributes[name]] if name in attributes else []
    while f"{name}{len(parts)}" in attributes:
        parts.append(attributes[f"{name}{len(parts)}"])
    return [
        value.decode() if isinstance(value, bytes) else str(value)
        for part in parts
        for value in part
    ]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".") if lines else type(error).__name__)[:160]
