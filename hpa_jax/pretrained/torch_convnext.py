"""What torchvision, timm and the paper's authors call a ConvNeXt's arrays.

torchvision's `features` alternate: an even number is what shrinks the map (the stem, then norm and
convolution between two stages), an odd one a stage. For example `features.1.0.block.0.weight`, the
depthwise convolution of the first block; timm has `stages.0.blocks.0.conv_dw.weight`, the authors'
own files `stages.0.0.dwconv.weight`.
"""

import re

HEAD = "norm_linear"
CLASSIFIER = {
    "params/head/norm/scale": "classifier.0.weight",
    "params/head/norm/bias": "classifier.0.bias",
    "params/head/logits/kernel": "classifier.2.weight",
    "params/head/logits/bias": "classifier.2.bias",
}

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
# Numbers of a block's layers in torchvision's Sequential, by our name, timm's and the authors'.
_LAYERS = {
    **dict.fromkeys(("depthwise", "conv_dw", "dwconv"), "block.0"),
    "norm": "block.2",
    **dict.fromkeys(("expand", "mlp.fc1", "pwconv1"), "block.3"),
    **dict.fromkeys(("project", "mlp.fc2", "pwconv2"), "block.5"),
}
_SHRINKING = {"norm": 0, "conv": 1}

_STEM = re.compile(r"(?:stem|downsample_layers\.0)\.(\d)\.(\w+)")
_BETWEEN = re.compile(r"(?:stages\.(\d)\.downsample|downsample_layers\.(\d))\.(\d)\.(\w+)")
_BLOCK = re.compile(r"stages\.(\d)\.(?:blocks\.)?(\d+)\.(?:([\w.]+)\.)?(weight|bias|gamma)")
_NORM = re.compile(r"(?:head\.)?norm\.(weight|bias)")
_LOGITS = re.compile(r"head\.(?:fc\.)?(weight|bias)")


def canonical(key: str) -> str:
    """A key of any of these styles in torchvision's own."""
    if found := _STEM.fullmatch(key):
        return f"features.0.{found[1]}.{found[2]}"
    if found := _BETWEEN.fullmatch(key):
        stage = int(found[1] or found[2])
        return f"features.{2 * stage}.{found[3]}.{found[4]}"
    if found := _BLOCK.fullmatch(key):
        block = f"features.{2 * int(found[1]) + 1}.{found[2]}"
        if found[4] == "gamma":
            return f"{block}.layer_scale"
        return f"{block}.{_LAYERS.get(found[3], found[3])}.{found[4]}"
    if found := _NORM.fullmatch(key):
        return f"classifier.0.{found[1]}"
    if found := _LOGITS.fullmatch(key):
        return f"classifier.2.{found[1]}"
    return key


def key_of(name: str) -> str:
    """torchvision's key of one of our backbone's arrays.

    Args:
      name: `params/backbone/stage1_block1/depthwise/kernel`, for example.

    Raises:
      KeyError: a ConvNeXt has no such array.
    """
    _, _, array = name.split("/", 2)
    if found := re.fullmatch(r"stage(\d)_block(\d+)/(?:(\w+)/)?(\w+)", array):
        block = f"features.{2 * int(found[1]) - 1}.{int(found[2]) - 1}"
        if found[4] == "layer_scale":
            return f"{block}.layer_scale"
        return f"{block}.{_LAYERS[found[3]]}.{_LEAVES[found[4]]}"
    if found := re.fullmatch(r"(?:stem|stage(\d))_(norm|conv)/(\w+)", array):
        leaf = _LEAVES[found[3]]
        if found[1]:
            return f"features.{2 * int(found[1]) - 2}.{_SHRINKING[found[2]]}.{leaf}"
        # The stem has the norm after its convolution.
        return f"features.0.{1 - _SHRINKING[found[2]]}.{leaf}"
    raise KeyError(name)
