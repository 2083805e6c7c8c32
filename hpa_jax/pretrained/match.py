"""Which array of a file is which of a net's: all of the backbone, each once, and none unknown.

An array that the file lacks, or that the net does not know, is refused by its name in the file.
Only the classifier may be left over, by its own name, and PyTorch's counts of steps.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.pretrained import keras_names, torch_names
from hpa_jax.pretrained.sources import names_for

# All there is to a linear head.
_LINEAR_HEAD = ("params/head/logits/kernel", "params/head/logits/bias")


class Matched(NamedTuple):
    """The file's keys by our names (`params/backbone/stem_conv/kernel`).

    Attributes:
      backbone: of every array of the backbone, in the layout's order.
      head: of the arrays of the head that the file has.
      prefix: that all keys of the file share and the net's do not have; "" for none.
    """

    backbone: dict[str, str]
    head: dict[str, str]
    prefix: str = ""


class _Names(NamedTuple):
    """Keys in one style, today's of the publisher: files are older than that, or of others.

    Attributes:
      backbone: `{our name: key}`.
      head: `{our name: key}` of what may be left over.
      in_file: `{the file's own key: key}`.
      prefix: of the file's own keys, as `Matched.prefix`.
    """

    backbone: dict[str, str]
    head: dict[str, str]
    in_file: dict[str, str]
    prefix: str = ""


def match(
    arrays: Mapping[str, np.ndarray],
    layout: str,
    net: str,
    backbone: Iterable[str],
    path: Path,
    published: bool,
) -> Matched:
    """Finds the arrays of a net in a file.

    Args:
      arrays: by the file's own keys, in its order.
      layout: of the file, as `formats.Raw.layout`.
      net: one of hpa_jax.models.BACKBONES.
      backbone: our names of the backbone's arrays.
      path: of the file, for messages.
      published: whether its publisher's digest says that it is a published file of the net.

    Raises:
      InputError: an array is missing, there twice, or unknown; or the layout has no such net.
    """
    if layout == "ours":
        names = _names_of_export(arrays, backbone, path)
    elif layout == "torch":
        names = _torch_names(arrays, backbone, net, path)
    else:
        names = _keras_names(arrays, backbone, net, layout, path, published)
    own = {key: own_key for own_key, key in names.in_file.items()}
    _check(names, own, arrays, net, path)
    return Matched(
        backbone={name: own[key] for name, key in names.backbone.items()},
        head={name: own[key] for name, key in names.head.items() if key in own},
        prefix=names.prefix,
    )


def _names_of_export(
    arrays: Mapping[str, np.ndarray], backbone: Iterable[str], path: Path
) -> _Names:
    in_file = {key: key for key in arrays}
    if not any(key.startswith("params/backbone/") for key in arrays):
        raise InputError(
            f"{path} has no arrays under params/backbone/; give an export's model.safetensors"
        )
    head = {}
    for key in arrays:
        if key.startswith(("params/head/", "batch_stats/head/")):
            head[key] = key
    return _Names({name: name for name in backbone}, head, in_file)


def _torch_names(
    arrays: Mapping[str, np.ndarray], backbone: Iterable[str], net: str, path: Path
) -> _Names:
    scheme = torch_names.scheme_of(net)
    if scheme is None:
        why = "; PyTorch's strides elsewhere, in the 3x3" if net == "resnet50" else ""
        raise InputError(
            f"{path} is in PyTorch's layout, of which no weights for {net} are read{why}; "
            f"{_advice(net)}"
        )
    wanted = {name: scheme.key_of(name) for name in backbone}
    prefix = _prefix(arrays, set(wanted.values()), scheme, path)
    in_file = {}
    for key in arrays:
        if not torch_names.IGNORED.search(key):
            in_file[key] = scheme.canonical(key.removeprefix(prefix))
    return _Names(wanted, dict(scheme.classifier), in_file, prefix)


def _prefix(keys: Iterable[str], wanted: set[str], scheme: torch_names.Scheme, path: Path) -> str:
    """What a wrapper around the net has put before all its keys, as `module.` or `model.`.

    Raises:
      InputError: it stands before the net's keys, and not before all keys of the file.
    """
    found = [_prefix_of(key, wanted, scheme) for key in keys]
    prefixes = {prefix for prefix in found if prefix}
    # Where there are several, or the net stands there without any, the keys are compared as they
    # are.
    if len(prefixes) != 1 or "" in found:
        return ""
    (prefix,) = prefixes
    others = [key for key in keys if not key.startswith(prefix)]
    if others:
        raise InputError(
            f"{path}: the net's keys begin with {prefix!r}, and {others[0]!r} does not "
            f"({len(others)} do not); save the state_dict of that part alone"
        )
    return prefix


def _prefix_of(key: str, wanted: set[str], scheme: torch_names.Scheme) -> str | None:
    """What stands before one of the net's keys, "" for nothing; None in other keys."""
    parts = key.split(".")
    for start in range(len(parts)):
        if scheme.canonical(".".join(parts[start:])) in wanted:
            return "".join(f"{part}." for part in parts[:start])
    return None


def _keras_names(
    arrays: Mapping[str, np.ndarray],
    backbone: Iterable[str],
    net: str,
    layout: str,
    path: Path,
    published: bool,
) -> _Names:
    if not keras_names.layers(net):
        raise InputError(
            f"{path} is in Keras's layout, and keras.applications has no {net}; {_advice(net)}"
        )
    wanted = keras_names.keys(net, layout, backbone)
    head = {}
    if layout == "keras_3":
        for position, name in enumerate(_LINEAR_HEAD):
            head[name] = f"layers/dense/vars/{position}"
        in_file = {key: key for key in arrays if not key.startswith("optimizer/")}
        return _Names(wanted, head, in_file)
    for name in _LINEAR_HEAD:
        leaf = name.rpartition("/")[2]
        head[name] = f"{keras_names.CLASSIFIERS[0]}/{leaf}"
    if published:
        in_file = keras_names.legacy_by_order(net, arrays)
    else:
        in_file = keras_names.legacy(arrays)
    return _Names(wanted, head, in_file)


def _check(
    names: _Names,
    own: Mapping[str, str],
    arrays: Mapping[str, np.ndarray],
    net: str,
    path: Path,
) -> None:
    """Refuses a file in which an array is missing, there twice, or unknown."""
    advice = "set config.model.name to the net that the file is of, or give another file"
    if len(own) < len(names.in_file):
        kept = set(own.values())
        twice = next(key for key in names.in_file if key not in kept)
        raise InputError(
            f"{path}: {twice} is there twice, under another name, too; give another file"
        )
    missing = [key for key in names.backbone.values() if key not in own]
    if missing:
        first = keras_names.describe_missing(missing[0], arrays)
        raise InputError(
            f"{path}: {first} is missing ({len(missing)} of {len(names.backbone)} arrays of "
            f"{net} are); {advice}"
        )
    known = {*names.backbone.values(), *names.head.values()}
    unknown = [own_key for own_key, key in names.in_file.items() if key not in known]
    if unknown:
        raise InputError(
            f"{path}: {unknown[0]} is none of the arrays of {net} ({len(unknown)} are not); "
            f"{advice}"
        )


def _advice(net: str) -> str:
    fitting = names_for(net)
    if fitting:
        return f"give one of {', '.join(fitting)}"
    return "give the model.safetensors of an export of this net"
