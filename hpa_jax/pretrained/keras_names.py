"""Layers of `keras.applications`' nets, in the order in which Keras stores them, and where each lies in ours.

Unusual: a Keras 3 `.weights.h5` names no layer, it counts those of a class (`layers/conv2d_17`); and of
Inception-ResNet-v2 the legacy layout, too, has little more than numbers, which depend on what else a session had built.
So the order is what counts, as it does for Keras itself: layers far from the output come first, and of those equally
far, those of earlier branches.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from hpa_jax.models import densenet, inception_resnet, resnet

CLASSIFIERS = ("predictions", "fc1000", "probs")
"""What the classifier's layer is called: today's name, and those in the published files."""


class Layer(NamedTuple):
    """
    Attributes:
      kind: 'conv2d' or 'batch_normalization', as Keras 3 calls a layer of that class.
      name: of the layer; '' where Keras numbers it.
      place: of the same in ours, below `backbone/`.
    """

    kind: str
    name: str
    place: str


def layers(net: str) -> list[Layer]:
    """All layers of a net that have weights, but for the classifier; none for a net that Keras does not have."""
    if net in densenet.DEPTHS:
        return list(_densenet(densenet.DEPTHS[net]))
    return list(
        {"resnet50": _resnet, "inception_resnet_v2": _inception_resnet}.get(net, lambda: ())()
    )


def _densenet(depths: tuple[int, ...]) -> Iterator[Layer]:
    yield Layer("conv2d", "conv1_conv", "stem_conv")
    yield Layer("batch_normalization", "conv1_bn", "stem_norm")
    for block, depth in enumerate(depths, start=1):
        for n in range(1, depth + 1):
            for kind, theirs, ours in (
                ("batch_normalization", "0_bn", "norm1"),
                ("conv2d", "1_conv", "conv1"),
                ("batch_normalization", "1_bn", "norm2"),
                ("conv2d", "2_conv", "conv2"),
            ):
                yield Layer(
                    kind, f"conv{block + 1}_block{n}_{theirs}", f"block{block}_layer{n}/{ours}"
                )
        if block < len(depths):
            yield Layer("batch_normalization", f"pool{block + 1}_bn", f"transition{block}_norm")
            yield Layer("conv2d", f"pool{block + 1}_conv", f"transition{block}_conv")
    yield Layer("batch_normalization", "bn", "final_norm")


def _by_depth(chains: Iterable[tuple]) -> Iterator:
    """The members of chains that end side by side, those furthest from the end first."""
    chains = list(chains)
    for distance in range(max(map(len, chains)), 0, -1):
        yield from (chain[-distance] for chain in chains if len(chain) >= distance)


def _resnet() -> Iterator[Layer]:
    yield Layer("conv2d", "conv1_conv", "stem_conv")
    yield Layer("batch_normalization", "conv1_bn", "stem_norm")
    for stage, depth in enumerate(resnet.DEPTHS, start=1):
        for block in range(1, depth + 1):
            shortcut = (("0", "shortcut_{}"),) if block == 1 else ()
            chains = ([shortcut] if shortcut else []) + [
                tuple((str(n), f"{{}}{n}") for n in (1, 2, 3))
            ]
            for number, ours in _by_depth(chains):
                theirs, ours = (
                    f"conv{stage + 1}_block{block}_{number}",
                    f"stage{stage}_block{block}/{ours}",
                )
                yield Layer("conv2d", f"{theirs}_conv", ours.format("conv"))
                yield Layer("batch_normalization", f"{theirs}_bn", ours.format("norm"))


def _inception_resnet() -> Iterator[Layer]:
    def unit(place: str, name: str = "") -> Iterator[Layer]:
        yield Layer("conv2d", name, f"{place}/conv")
        yield Layer("batch_normalization", name and f"{name}_bn", f"{place}/norm")

    def branches(place: str, chains: tuple, *more: str) -> Iterator[Layer]:
        named = [
            tuple(f"branch{b}_{n}" for n in range(1, len(chain) + 1))
            for b, chain in enumerate(chains)
        ]
        for branch in _by_depth([*named, *((name,) for name in more)]):
            yield from unit(f"{place}/{branch}")

    def residual(kind: str, chains: tuple, depth: int) -> Iterator[Layer]:
        for n in range(1, depth + 1):
            yield from branches(f"{kind}_{n}", chains)
            yield Layer("conv2d", f"{kind}_{n}_conv", f"{kind}_{n}/up")

    net = inception_resnet
    for n in range(1, 6):
        yield from unit(f"stem{n}")
    yield from branches("mixed_5b", net.MIXED_5B, "pool_1")
    yield from residual("block35", net.BLOCK35, net.DEPTHS[0])
    yield from branches("mixed_6a", net.MIXED_6A)
    yield from residual("block17", net.BLOCK17, net.DEPTHS[1])
    yield from branches("mixed_7a", net.MIXED_7A)
    yield from residual("block8", net.BLOCK8, net.DEPTHS[2])
    yield from unit("conv_7b", "conv_7b")


_LEAVES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "mean": "moving_mean",
    "var": "moving_variance",
}
_ORDER = ("kernel", "scale", "bias", "mean", "var")


def _folders(net: str, layout: str) -> list[str]:
    """What each of `layers(net)` is called in a file; in the legacy layout a numbered one `conv2d #0`, `conv2d #1`."""
    names, counts = [], {}
    for layer in layers(net):
        if layout == "keras_legacy" and layer.name:
            names.append(layer.name)
            continue
        number = counts[layer.kind] = counts.get(layer.kind, -1) + 1
        suffix = f" #{number}" if layout == "keras_legacy" else f"_{number}" if number else ""
        names.append(layer.kind + suffix)
    return names


def keys(net: str, layout: str, ours: Iterable[str]) -> dict[str, str]:
    """`{our name: key}` of a backbone's arrays, in the order of the file.

    Args:
      layout: 'keras_3', whose keys are `layers/conv2d_17/vars/0`; or 'keras_legacy', whose are `layer/weight` (see
        `legacy` for layers without a name).
      ours: `params/backbone/...` and `batch_stats/backbone/...`, which tell the weights that a layer has.
    """
    at: dict[str, dict[str, str]] = {}
    for name in ours:
        place, _, leaf = name.split("/", 2)[2].rpartition("/")
        at.setdefault(place, {})[leaf] = name
    found = {}
    for layer, folder in zip(layers(net), _folders(net, layout), strict=True):
        present = [leaf for leaf in _ORDER if leaf in at[layer.place]]
        for position, leaf in enumerate(present):
            weight = "beta" if leaf == "bias" and layer.kind != "conv2d" else _LEAVES[leaf]
            key = (
                f"layers/{folder}/vars/{position}" if layout == "keras_3" else f"{folder}/{weight}"
            )
            found[at[layer.place][leaf]] = key
    return found


def legacy(keys: Iterable[str]) -> dict[str, str]:
    """`{key: key in today's names}` of a legacy file, in its order.

    `conv1/bn/gamma` becomes `conv1_bn/gamma`; `conv2d_205/kernel`, of the layer that Keras numbered and that comes
    third in the file, becomes `conv2d #2/kernel`.
    """
    renamed, order = {}, {"conv2d": [], "batch_normalization": []}
    for key in keys:
        layer, _, weight = key.rpartition("/")
        if match := re.fullmatch(r"(conv2d|batch_normalization)(_\d+)?", layer):
            seen = order[match[1]]
            if layer not in seen:
                seen.append(layer)
            renamed[key] = f"{match[1]} #{seen.index(layer)}/{weight}"
        else:
            name = layer.replace("/", "_")
            renamed[key] = f"{CLASSIFIERS[0] if name in CLASSIFIERS else name}/{weight}"
    return renamed


def legacy_by_order(net: str, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The same for a file that Keras publishes for `net`, in which a layer's place counts and not what it is called.

    Keras itself loads these files so; the names in them are those of the day on which they were made.
    """
    slots = {"conv2d": [], "batch_normalization": [], "dense": [CLASSIFIERS[0]]}
    for layer, folder in zip(layers(net), _folders(net, "keras_legacy"), strict=True):
        slots[layer.kind].append(folder)
    places, renamed = {}, {}
    for key, array in arrays.items():
        layer, _, weight = key.rpartition("/")
        if layer not in places:
            kind = {4: "conv2d", 2: "dense"}.get(array.ndim, "batch_normalization")
            places[layer] = slots[kind].pop(0) if slots[kind] else layer
        renamed[key] = f"{places[layer]}/{weight}"
    return renamed


def in_words(missing: str, keys: Iterable[str]) -> str:
    """A key that a file lacks, as its reader would look for it: of numbered layers, the number that is left out."""
    kind, numbered_layer, rest = missing.partition(" #")
    if not numbered_layer:
        return missing
    found = [re.fullmatch(rf"{kind}(?:_(\d+))?/.*", key) for key in keys]
    numbers = {int(match[1] or 0) for match in found if match}
    left_out = sorted(set(range(min(numbers, default=0), max(numbers, default=0))) - numbers)
    weight = rest.partition("/")[2]
    return f"{kind}_{left_out[0]}/{weight}" if left_out else f"{weight} of one more {kind} layer"
