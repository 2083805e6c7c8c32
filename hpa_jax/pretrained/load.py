"""A net's starting values from a file or a named source: every array of the backbone, or none.

Unusual: nothing is skipped. An array that the file lacks, one that the net does not know, one of another shape: each is
refused by its name in the file. Only the classifier may be left over, by its own name, and PyTorch's counts of steps.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.pretrained import keras_names, torch_names
from hpa_jax.pretrained.fetch import fetch
from hpa_jax.pretrained.formats import read
from hpa_jax.pretrained.sources import SOURCES, Source
from hpa_jax.pretrained.stem import COLOURS, check, inflate

FIRST = {"all_cnn": "conv1", "inception_resnet_v2": "stem1/conv"}
"""The convolution that sees the image, where it is not `stem_conv`."""
HEAD = ("params/head/logits/kernel", "params/head/logits/bias")
"""All there is to a linear head."""


@dataclass(frozen=True)
class Loaded:
    """What was loaded, for the log and for WORKDIR/pretrained.json.

    Attributes:
      source: as configured.
      file: the file that was read, without its folder.
      sha256: of that file, hex.
      layout: 'torch', 'ours', 'keras_legacy', 'keras_3'.
      arrays: how many went into the net.
      head: 'taken' from the file, 'left' there because the net's is another, or 'none' in the file.
      stem: what became of the first convolution.
      mean, std: of red, green, blue as shares of 255, by which the weights' training normalised; () if not known.
    """

    source: str
    file: str
    sha256: str
    layout: str
    arrays: int
    head: str
    stem: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def to_dict(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        figures = ""
        if self.mean:
            figures = "; trained on red, green, blue normalised by mean {} and deviation {} of 255".format(
                *(" ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
            )
        return (
            f"starting from {self.source} ({self.file}, SHA-256 {self.sha256[:16]}...): {self.arrays} arrays; "
            f"{self.stem}; the file's head: {self.head}{figures}"
        )


def load(source: str, *, net: str, variables: dict, stem: str, cache: Path | None = None) -> dict:
    """Variables of a net whose backbone is what `source` holds.

    A linear head is taken, too, where the file has one for as many labels; an export's head where all its shapes agree.

    Args:
      source: a file (`.pth`, `.safetensors`, `.h5`, `.weights.h5`, told apart by content), the folder of an export, or
        one of SOURCES.
      net: one of hpa_jax.models.BACKBONES.
      variables: `{'params', 'batch_stats'}` as `init_variables` draws them; what is not replaced stays.
      stem: one of STEMS: how filters for three channels become filters for the net's.
      cache: folder of downloads; None: $HPA_CACHE or the user's.

    Returns:
      A new tree of `numpy float32`, of the same structure and shapes.

    Raises:
      InputError: names the file, the array, and what to do.
    """
    return load_described(source, net=net, variables=variables, stem=stem, cache=cache)[0]


def load_described(
    source: str, *, net: str, variables: dict, stem: str, cache: Path | None = None
) -> tuple[dict, Loaded]:
    """The same, and what was done."""
    check(stem)
    path, sha256, published = _find(source, net, cache)
    layout, arrays = read(path)
    ours = _flat(variables)
    backbone = [name for name in ours if name.split("/")[1] == "backbone"]
    wanted, names, heads_names = _names(net, layout, backbone, arrays, path, published is not None)
    keys = _matched(path, net, wanted, names, heads_names, arrays)

    taken = {
        name: _values(arrays[keys[key]], layout, path, keys[key]) for name, key in wanted.items()
    }
    first = f"params/backbone/{FIRST.get(net, 'stem_conv')}/kernel"
    flip = published is not None and published.order == "bgr"
    taken[first], said = _first_convolution(taken[first], ours[first].shape, stem, flip)
    taken = {
        name: _fitted(array, ours[name].shape, path, keys[wanted[name]])
        for name, array in taken.items()
    }

    head = {name: arrays[keys[key]] for name, key in heads_names.items() if key in keys}
    head = {
        name: _values(array, layout, path, keys[heads_names[name]]) for name, array in head.items()
    }
    fits = _same_shapes(
        head, {name: array for name, array in ours.items() if name.split("/")[1] == "head"}
    )
    if fits:
        taken |= head
    loaded = Loaded(
        source=source,
        file=path.name,
        sha256=sha256,
        layout=layout,
        arrays=len(taken),
        head=("taken" if fits else "left") if head else "none",
        stem=said,
        mean=published.mean if published else (),
        std=published.std if published else (),
    )
    return _nested(ours | taken, variables), loaded


def _find(source: str, net: str, cache: Path | None) -> tuple[Path, str, Source | None]:
    """The file, its SHA-256, and the published source that it is, if it is one."""
    if source in SOURCES:
        published = SOURCES[source]
        if published.net != net:
            fitting = [name for name, other in SOURCES.items() if other.net == net]
            raise InputError(
                f"config.model.pretrained={source!r} is of {published.net}, config.model.name={net!r} is not; "
                + (
                    f"for this net there are {', '.join(fitting)}"
                    if fitting
                    else "there are none for this net"
                )
            )
        return *fetch(published, cache), published
    path = Path(source)
    if path.is_dir():
        path /= "model.safetensors"
    if not path.is_file():
        raise InputError(
            f"config.model.pretrained={source!r} is no file, no export's folder and no source; sources are "
            f"{', '.join(SOURCES)}"
        )
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            for digest in digests.values():
                digest.update(piece)
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    for published in SOURCES.values():
        for kind, _, digits in (
            published.digest.partition(":"),
            published.without_top.partition(":"),
        ):
            if published.net == net and digits and found[kind].startswith(digits):
                return path, found["sha256"], published
    return path, found["sha256"], None


def _names(
    net: str,
    layout: str,
    backbone: list[str],
    arrays: Mapping[str, np.ndarray],
    path: Path,
    published: bool,
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """`{our name: key}` of the backbone, `{the file's own key: key}`, `{our name: key}` of what may be left over.

    Keys are the file's in the names of today's publishers.
    """
    if layout == "ours":
        if not any(key.startswith("params/backbone/") for key in arrays):
            raise InputError(
                f"{path} has no arrays under params/backbone/; give an export's model.safetensors"
            )
        return (
            {name: name for name in backbone},
            {k: k for k in arrays},
            {k: k for k in arrays if _of_head(k)},
        )
    if layout == "torch":
        if net not in torch_names.NETS:
            why = "; PyTorch's strides elsewhere, in the 3x3" if net == "resnet50" else ""
            raise InputError(
                f"{path} is in PyTorch's layout, of which no weights for {net} are read{why}; {_advice(net)}"
            )
        theirs = {
            key: torch_names.canonical(key) for key in arrays if not torch_names.IGNORED.search(key)
        }
        return {name: torch_names.key_of(name) for name in backbone}, theirs, torch_names.CLASSIFIER
    if not keras_names.layers(net):
        raise InputError(
            f"{path} is in Keras's layout, and keras.applications has no {net}; {_advice(net)}"
        )
    wanted = keras_names.keys(net, layout, backbone)
    if layout == "keras_3":
        theirs = {key: key for key in arrays if not key.startswith("optimizer/")}
        return wanted, theirs, {name: f"layers/dense/vars/{n}" for n, name in enumerate(HEAD)}
    theirs = keras_names.legacy_by_order(net, arrays) if published else keras_names.legacy(arrays)
    return (
        wanted,
        theirs,
        {name: f"{keras_names.CLASSIFIERS[0]}/{name.rpartition('/')[2]}" for name in HEAD},
    )


def _matched(
    path: Path, net: str, wanted: Mapping, names: Mapping, heads_names: Mapping, arrays: Mapping
) -> dict[str, str]:
    """`{key: the file's own key}` of a file that has each array of the backbone, once, and none that is not known."""
    keys = {key: own for own, key in names.items()}
    of_net = f"arrays of {net}"
    advice = "set config.model.name to the net that the file is of, or give another file"
    if len(keys) < len(names):
        twice = next(own for own in names if own not in keys.values())
        raise InputError(
            f"{path}: {twice} is there twice, under another name, too; give another file"
        )
    if missing := [key for key in wanted.values() if key not in keys]:
        named = keras_names.in_words(missing[0], arrays)
        raise InputError(
            f"{path}: {named} is missing ({len(missing)} of {len(wanted)} {of_net} are); {advice}"
        )
    known = {*wanted.values(), *heads_names.values()}
    if extra := [own for own, key in names.items() if key not in known]:
        raise InputError(
            f"{path}: {extra[0]} is none of the {of_net} ({len(extra)} are not); {advice}"
        )
    return keys


def _advice(net: str) -> str:
    fitting = [name for name, source in SOURCES.items() if source.net == net]
    return (
        f"give one of {', '.join(fitting)}"
        if fitting
        else "give the model.safetensors of an export of this net"
    )


def _of_head(name: str) -> bool:
    return name.startswith(("params/head/", "batch_stats/head/"))


def _values(array: np.ndarray, layout: str, path: Path, key: str) -> np.ndarray:
    """An array of the file as float32 with inputs before outputs: `[h, w, in, out]`, `[in, out]`."""
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise InputError(
            f"{path}: {key} is of {array.dtype}, not of a float type; give another file"
        )
    array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {key} holds a value that is not finite; give another file")
    if layout == "torch" and array.ndim > 1:
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return np.ascontiguousarray(array)


def _first_convolution(
    kernel: np.ndarray, shape: tuple[int, ...], stem: str, flip: bool
) -> tuple[np.ndarray, str]:
    """The kernel for the net's channels, and what was done in words."""
    channels = shape[2]
    said = "first convolution as in the file"
    if kernel.ndim != 4:
        return kernel, said
    if flip:
        kernel, said = (
            kernel[:, :, ::-1],
            "first convolution turned from blue, green, red to red, green, blue",
        )
    if kernel.shape[2] == COLOURS != channels:
        kernel = inflate(kernel, channels, stem)
        said = f"{said}, made to take {channels} channels ({stem})"
    return kernel, said


def _fitted(array: np.ndarray, shape: tuple[int, ...], path: Path, key: str) -> np.ndarray:
    """As the net has it: a 1x1 convolution is a matrix there."""
    fits = array.shape == shape or (array.shape[:2] == (1, 1) and array.shape[2:] == shape)
    if not fits:
        raise InputError(
            f"{path}: {key} has the shape {array.shape} (inputs before outputs) where the net has {shape}; set "
            "config.model.name and config.data.channel_mix to what the file is for, or give another file"
        )
    return np.ascontiguousarray(array.reshape(shape))


def _same_shapes(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return {name: v.shape for name, v in a.items()} == {name: v.shape for name, v in b.items()}


def _flat(tree: Mapping, prefix: str = "") -> dict[str, np.ndarray]:
    flat = {}
    for name, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{name}/")
            if isinstance(value, Mapping)
            else {f"{prefix}{name}": value}
        )
    return flat


def _nested(flat: Mapping[str, np.ndarray], like: Mapping, prefix: str = "") -> dict:
    return {
        name: _nested(flat, value, f"{prefix}{name}/")
        if isinstance(value, Mapping)
        else flat[f"{prefix}{name}"]
        for name, value in like.items()
    }
