"""The layers of `keras.applications`' nets in the order of their files, and where each is in ours.

Design: a Keras 3 `.weights.h5` names no layer, it counts those of a class (`layers/conv2d_17`);
and of Inception-ResNet-v2 the legacy layout, too, has little more than numbers, which depend on
what else a session had built. So the order is what counts, as it does for Keras itself: layers
far from the output come first, and of those equally far, those of earlier branches.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from hpa_jax.models import densenet, inception_resnet, resnet

CLASSIFIERS = ("predictions", "fc1000", "probs")
"""What the classifier's layer is called: today's name, and those in the published files."""


class Layer(NamedTuple):
    """A layer that has weights.

    Attributes:
      kind: 'conv2d' or 'batch_normalization', as Keras 3 calls a layer of that class.
      name: of the layer; '' where Keras numbers it.
      place: of the same in ours, below `backbone/`.
    """

    kind: str
    name: str
    place: str


def layers(net: str) -> list[Layer]:
    """All layers of a net with weights, but for the classifier; none for a net unknown to Keras."""
    if net in densenet.DEPTHS:
        return list(_densenet(densenet.DEPTHS[net]))
    if net == "resnet50":
        return list(_resnet())
    if net == "inception_resnet_v2":
        return list(_inception_resnet())
    return []


def _densenet(depths: tuple[int, ...]) -> Iterator[Layer]:
    yield Layer("conv2d", "conv1_conv", "stem_conv")
    yield Layer("batch_normalization", "conv1_bn", "stem_norm")
    for block, depth in enumerate(depths, start=1):
        for number in range(1, depth + 1):
            theirs = f"conv{block + 1}_block{number}"
            ours = f"block{block}_layer{number}"
            yield Layer("batch_normalization", f"{theirs}_0_bn", f"{ours}/norm1")
            yield Layer("conv2d", f"{theirs}_1_conv", f"{ours}/conv1")
            yield Layer("batch_normalization", f"{theirs}_1_bn", f"{ours}/norm2")
            yield Layer("conv2d", f"{theirs}_2_conv", f"{ours}/conv2")
        if block < len(depths):
            yield Layer("batch_normalization", f"pool{block + 1}_bn", f"transition{block}_norm")
            yield Layer("conv2d", f"pool{block + 1}_conv", f"transition{block}_conv")
    yield Layer("batch_normalization", "bn", "final_norm")


def _by_depth(chains: Iterable[tuple]) -> Iterator:
    """The members of chains that end side by side, those furthest from the end first."""
    chains = list(chains)
    for distance in range(max(map(len, chains)), 0, -1):
        for chain in chains:
            if len(chain) >= distance:
                yield chain[-distance]


def _resnet() -> Iterator[Layer]:
    yield Layer("conv2d", "conv1_conv", "stem_conv")
    yield Layer("batch_normalization", "conv1_bn", "stem_norm")
    # Keras's number of a convolution in its block, and our name of it.
    main = (("1", "{}1"), ("2", "{}2"), ("3", "{}3"))
    shortcut = (("0", "shortcut_{}"),)
    for stage, depth in enumerate(resnet.DEPTHS, start=1):
        for block in range(1, depth + 1):
            chains = [shortcut, main] if block == 1 else [main]
            for number, name in _by_depth(chains):
                theirs = f"conv{stage + 1}_block{block}_{number}"
                ours = f"stage{stage}_block{block}/{name}"
                yield Layer("conv2d", f"{theirs}_conv", ours.format("conv"))
                yield Layer("batch_normalization", f"{theirs}_bn", ours.format("norm"))


def _inception_resnet() -> Iterator[Layer]:
    net = inception_resnet
    for number in range(1, 6):
        yield from _unit(f"stem{number}")
    yield from _branches("mixed_5b", net.MIXED_5B, "pool_1")
    yield from _residual("block35", net.BLOCK35, net.DEPTHS[0])
    yield from _branches("mixed_6a", net.MIXED_6A)
    yield from _residual("block17", net.BLOCK17, net.DEPTHS[1])
    yield from _branches("mixed_7a", net.MIXED_7A)
    yield from _residual("block8", net.BLOCK8, net.DEPTHS[2])
    yield from _unit("conv_7b", "conv_7b")


def _unit(place: str, name: str = "") -> Iterator[Layer]:
    """A convolution and its norm."""
    yield Layer("conv2d", name, f"{place}/conv")
    yield Layer("batch_normalization", f"{name}_bn" if name else "", f"{place}/norm")


def _branches(place: str, chains: tuple, *single: str) -> Iterator[Layer]:
    """The branches of an Inception block; `single` ones have one convolution."""
    named = []
    for branch, chain in enumerate(chains):
        named.append(tuple(f"branch{branch}_{n}" for n in range(1, len(chain) + 1)))
    for name in single:
        named.append((name,))
    for name in _by_depth(named):
        yield from _unit(f"{place}/{name}")


def _residual(kind: str, chains: tuple, depth: int) -> Iterator[Layer]:
    for number in range(1, depth + 1):
        place = f"{kind}_{number}"
        yield from _branches(place, chains)
        yield Layer("conv2d", f"{place}_conv", f"{place}/up")


_LEAVES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "mean": "moving_mean",
    "var": "moving_variance",
}
# The order of a layer's weights in a Keras 3 file.
_ORDER = ("kernel", "scale", "bias", "mean", "var")


def _folders(net: str, layout: str) -> list[str]:
    """What each of `layers(net)` is called in a file.

    In the legacy layout a numbered one is called `conv2d #0`, `conv2d #1`, ...
    """
    names = []
    counts: dict[str, int] = {}
    for layer in layers(net):
        if layout == "keras_legacy" and layer.name:
            names.append(layer.name)
            continue
        number = counts.get(layer.kind, 0)
        counts[layer.kind] = number + 1
        if layout == "keras_legacy":
            names.append(f"{layer.kind} #{number}")
        elif number:
            names.append(f"{layer.kind}_{number}")
        else:
            names.append(layer.kind)
    return names


def keys(net: str, layout: str, ours: Iterable[str]) -> dict[str, str]:
    """`{our name: key}` of a backbone's arrays, in the order of the file.

    Args:
      net: a net that Keras has.
      layout: 'keras_3', whose keys are `layers/conv2d_17/vars/0`; or 'keras_legacy', whose are
        `layer/weight` (see `legacy` for layers without a name).
      ours: `params/backbone/...` and `batch_stats/backbone/...`, which tell the weights of each
      layer.
    """
    by_place: dict[str, dict[str, str]] = {}
    for name in ours:
        _, _, array = name.split("/", 2)
        place, _, leaf = array.rpartition("/")
        by_place.setdefault(place, {})[leaf] = name
    found = {}
    for layer, folder in zip(layers(net), _folders(net, layout), strict=True):
        arrays = by_place[layer.place]
        present = [leaf for leaf in _ORDER if leaf in arrays]
        for position, leaf in enumerate(present):
            if layout == "keras_3":
                key = f"layers/{folder}/vars/{position}"
            elif leaf == "bias" and layer.kind == "batch_normalization":
                key = f"{folder}/beta"
            else:
                key = f"{folder}/{_LEAVES[leaf]}"
            found[arrays[leaf]] = key
    return found


def legacy(keys: Iterable[str]) -> dict[str, str]:
    """`{key: key in today's names}` of a legacy file, in its order.

    `conv1/bn/gamma` becomes `conv1_bn/gamma`; `conv2d_205/kernel`, of the layer that Keras
    numbered and that comes third in the file, becomes `conv2d #2/kernel`.
    """
    renamed = {}
    numbered: dict[str, list[str]] = {"conv2d": [], "batch_normalization": []}
    for key in keys:
        layer, _, weight = key.rpartition("/")
        if found := re.fullmatch(r"(conv2d|batch_normalization)(_\d+)?", layer):
            kind = found[1]
            seen = numbered[kind]
            if layer not in seen:
                seen.append(layer)
            renamed[key] = f"{kind} #{seen.index(layer)}/{weight}"
            continue
        name = layer.replace("/", "_")
        if name in CLASSIFIERS:
            name = CLASSIFIERS[0]
        renamed[key] = f"{name}/{weight}"
    return renamed


def legacy_by_order(net: str, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The same for a file that Keras publishes for `net`: a layer's place counts, not its name.

    Keras itself loads these files so; the names in them are those of the day on which they were
    made.
    """
    slots: dict[str, list[str]] = {
        "conv2d": [],
        "batch_normalization": [],
        "dense": [CLASSIFIERS[0]],
    }
    for layer, folder in zip(layers(net), _folders(net, "keras_legacy"), strict=True):
        slots[layer.kind].append(folder)
    kinds = {4: "conv2d", 2: "dense"}
    places: dict[str, str] = {}
    renamed = {}
    for key, array in arrays.items():
        layer, _, weight = key.rpartition("/")
        if layer not in places:
            free = slots[kinds.get(array.ndim, "batch_normalization")]
            places[layer] = free.pop(0) if free else layer
        renamed[key] = f"{places[layer]}/{weight}"
    return renamed


def describe_missing(missing: str, keys: Iterable[str]) -> str:
    """A key that a file lacks, as its reader would look for it.

    Of numbered layers it is the number that is left out: for `conv2d #202/kernel`, the kernel of
    the last of 203 layers, `conv2d_57/kernel`.
    """
    kind, is_numbered, rest = missing.partition(" #")
    if not is_numbered:
        return missing
    numbers = set()
    for key in keys:
        if found := re.fullmatch(rf"{kind}(?:_(\d+))?/.*", key):
            numbers.add(int(found[1] or 0))
    between = range(min(numbers, default=0), max(numbers, default=0))
    left_out = sorted(set(between) - numbers)
    weight = rest.partition("/")[2]
    if left_out:
        return f"{kind}_{left_out[0]}/{weight}"
    return f"{weight} of one more {kind} layer"
