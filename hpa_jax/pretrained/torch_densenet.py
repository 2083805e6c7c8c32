"""What torchvision and timm call a DenseNet's arrays.

For example `features.denseblock1.denselayer1.norm1.weight`.

The published files are older than torchvision's names and have `norm.1`; MONAI has
`layers.norm1`, and `class_layers.out` for the classifier. Both are brought to torchvision's.
"""

import re

HEAD = "linear"
CLASSIFIER = {
    "params/head/logits/kernel": "classifier.weight",
    "params/head/logits/bias": "classifier.bias",
}

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_PLACES = (
    (r"stem_(conv|norm)", r"\g<1>0"),
    (r"block(\d+)_layer(\d+)/(\w+)", r"denseblock\1.denselayer\2.\3"),
    (r"transition(\d+)_(\w+)", r"transition\1.\2"),
    (r"final_norm", "norm5"),
)
_OTHER_STYLES = (
    (re.compile(r"(\.denselayer\d+)\.(norm|conv)\.([12])\."), r"\1.\2\3."),
    (re.compile(r"(\.denselayer\d+)\.layers\."), r"\1."),
    (re.compile(r"^class_layers\.out\."), "classifier."),
)


def canonical(key: str) -> str:
    """A key of any of these styles in torchvision's own."""
    for pattern, replacement in _OTHER_STYLES:
        key = pattern.sub(replacement, key)
    return key


def key_of(name: str) -> str:
    """torchvision's key of one of our backbone's arrays.

    Args:
      name: `params/backbone/block1_layer1/norm1/scale`, for example.

    Raises:
      KeyError: a DenseNet has no such array.
    """
    _, _, array = name.split("/", 2)
    place, _, leaf = array.rpartition("/")
    for pattern, replacement in _PLACES:
        if found := re.fullmatch(pattern, place):
            return f"features.{found.expand(replacement)}.{_LEAVES[leaf]}"
    raise KeyError(name)
