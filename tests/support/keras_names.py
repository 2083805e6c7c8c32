"""What keras.applications calls its variables, and what we call them: facts that tests share.

A Keras path is `LAYER/LEAF`. Inception-ResNet-v2 leaves most of its layers unnamed, so Keras
numbers them in the order in which they are made: `conv2d`, `conv2d_1`, ..., and
`batch_normalization_...` likewise.

Written apart from hpa_jax/pretrained/keras_names.py, which it checks.
"""

import re

LEAVES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}


def our_name(net, path):
    """The flat name, `params/backbone/...`, of a Keras variable of `net`."""
    layer, leaf = path.split("/")[-2:]
    if layer == "predictions":
        place = "head/logits"
    elif net.startswith("densenet"):
        place = f"backbone/{densenet(layer)}"
    elif net == "resnet50":
        place = f"backbone/{resnet(layer)}"
    else:
        place = f"backbone/{inception(layer)}"
    group = "batch_stats" if leaf.startswith("moving") else "params"
    return f"{group}/{place}/{LEAVES.get(leaf, leaf)}"


def densenet(layer):
    """Our place of a DenseNet's layer.

    `conv3_block2_1_bn` is the second norm of the second layer of the second block; `pool3_bn` is
    of a transition.
    """
    fixed = {"conv1_conv": "stem_conv", "conv1_bn": "stem_norm", "bn": "final_norm"}
    if layer in fixed:
        return fixed[layer]
    if layer.startswith("pool"):
        block, kind = layer.removeprefix("pool").split("_")
        return f"transition{int(block) - 1}_{'norm' if kind == 'bn' else 'conv'}"
    block, number, part = layer.removeprefix("conv").replace("block", "").split("_", 2)
    part = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}[part]
    return f"block{int(block) - 1}_layer{number}/{part}"


def resnet(layer):
    """Our place of a ResNet's layer.

    `conv3_block2_1_conv` is the first convolution of the second stage's second block; number 0 is
    the shortcut.
    """
    kind = {"conv": "conv", "bn": "norm"}
    if layer in ("conv1_conv", "conv1_bn"):
        return f"stem_{kind[layer.removeprefix('conv1_')]}"
    stage, block, number, what = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", layer).groups()
    part = f"{kind[what]}{number}" if int(number) else f"shortcut_{kind[what]}"
    return f"stage{int(stage) - 1}_block{block}/{part}"


def inception(layer):
    """Our place of an Inception-ResNet's layer.

    The numbered ones go by the order in which they are made; `block17_3_conv` is the last
    convolution of a residual.
    """
    if layer in ("conv_7b", "conv_7b_bn"):
        return "conv_7b/norm" if layer.endswith("bn") else "conv_7b/conv"
    if named := re.fullmatch(r"(block\d+_\d+)_conv", layer):
        return f"{named[1]}/up"
    kind, number = re.fullmatch(r"(conv2d|batch_normalization)_?(\d*)", layer).groups()
    return f"{inception_order()[int(number or 0)]}/{'conv' if kind == 'conv2d' else 'norm'}"


def inception_order():
    """Our places of the unnamed convolutions with their norms, in the order of Keras."""

    def chains(name, *lengths):
        return [
            f"{name}/branch{b}_{n}"
            for b, length in enumerate(lengths)
            for n in range(1, length + 1)
        ]

    def blocks(name, depth, *lengths):
        return [place for n in range(1, depth + 1) for place in chains(f"{name}_{n}", *lengths)]

    return [
        *(f"stem{n}" for n in range(1, 6)),
        *(*chains("mixed_5b", 1, 2, 3), "mixed_5b/pool_1"),
        *blocks("block35", 10, 1, 2, 3),
        *chains("mixed_6a", 1, 3),
        *blocks("block17", 20, 1, 3),
        *chains("mixed_7a", 2, 2, 3),
        *blocks("block8", 10, 1, 3),
    ]
