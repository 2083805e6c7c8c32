"""The arrays of a trained net as torchvision's module loads them: the way back of `load.py`.

Design: torchvision's ResNet-50 is another net than ours (its blocks stride in the 3x3 convolution,
ours, as Keras's, in the first 1x1), so that no weights make it compute the same; DenseNets and
ConvNeXts have a module there, `torchvision.models.DenseNet` and `.ConvNeXt`, its first convolution
made to take the channels of the net's mix.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from hpa_jax.errors import InputError
from hpa_jax.models import BACKBONES
from hpa_jax.models.convnext import ConvNeXt
from hpa_jax.models.densenet import DenseNet
from hpa_jax.models.norm import BatchNorm
from hpa_jax.pretrained.load import load_described
from hpa_jax.pretrained.torch_names import scheme_of

EPSILON = 1e-5
"""That PyTorch's batch norms add to the variance."""

_BACKBONES = ("params/backbone/", "batch_stats/backbone/")


def module_arguments(net: str) -> dict | None:
    """What torchvision's module has to be called with to be a net of ours.

    Args:
      net: one of hpa_jax.models.BACKBONES, or a net of several of them.

    Returns:
      Keyword arguments, as JSON has them: those of `torchvision.models.DenseNet`; for
      `torchvision.models.ConvNeXt` the `block_setting`, with the arguments of each
      `torchvision.models.convnext.CNBlockConfig`. None for a net that torchvision has no module of.
    """
    if net not in BACKBONES:
        return None
    module = BACKBONES[net]()
    if isinstance(module, DenseNet):
        return {
            "growth_rate": module.growth,
            "block_config": list(module.depths),
            "num_init_features": module.stem,
        }
    if isinstance(module, ConvNeXt):
        next_widths = [*module.widths[1:], None]
        stages = zip(module.widths, next_widths, module.depths, strict=True)
        return {"block_setting": [list(stage) for stage in stages]}
    return None


def has_classifier(net: str, head: str) -> bool:
    """Whether a head is the classifier of torchvision's module of a net."""
    scheme = scheme_of(net)
    return scheme is not None and scheme.head == head


def to_torchvision(
    variables: Mapping[str, np.ndarray], net: str, head: str
) -> dict[str, np.ndarray]:
    """A net's arrays under torchvision's keys.

    Args:
      variables: float32 arrays by flat name: `params/backbone/stem_conv/kernel`, for example.
      net: one that has `module_arguments`.
      head: of the net. That of torchvision's module is `linear` for DenseNets, `norm_linear` for
        ConvNeXts; others are left out.

    Returns:
      float32 arrays, kernels as `[out, in, h, w]`, or as `[out, in]` where the module has a linear
      layer; with the keys of its classifier where the head is the module's.
    """
    scheme = scheme_of(net)
    if scheme is None:
        raise InputError(
            f"config.model.name={net!r} is no net of torchvision's, and has no weights for it"
        )
    module = BACKBONES[net]()
    arrays = {}
    for name, array in variables.items():
        if not name.startswith(_BACKBONES):
            continue
        key = scheme.key_of(name)
        if isinstance(module, ConvNeXt):
            arrays[key] = _as_convnext(name, array)
        else:
            arrays[key] = _as_densenet(name, array)
    if has_classifier(net, head):
        for name, key in scheme.classifier.items():
            arrays[key] = np.ascontiguousarray(variables[name].T)
    return arrays


def _as_densenet(name: str, array: np.ndarray) -> np.ndarray:
    leaf = name.rpartition("/")[2]
    if leaf == "var":
        # What the two norms add to it is not the same.
        return (array + np.float64(BatchNorm.epsilon - EPSILON)).astype(np.float32)
    if leaf != "kernel":
        return array
    if array.ndim == 2:
        # A 1x1 convolution is a matrix here.
        array = array[None, None]
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1))


def _as_convnext(name: str, array: np.ndarray) -> np.ndarray:
    if name.endswith("/layer_scale"):
        return array[:, None, None]
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(array.T if array.ndim == 2 else array)


def check_torchvision(path: Path, net: str, head: str, variables: Mapping[str, np.ndarray]) -> None:
    """Reads a file of such arrays as one of PyTorch's, and compares it with the net's.

    Args:
      path: of the file.
      net, head: of the net.
      variables: as of `to_torchvision`.

    Raises:
      InputError: an array is missing, unknown, of another shape, or has another value.
    """
    blank = {name: np.zeros_like(array) for name, array in variables.items()}
    nested = unflatten_dict(blank, sep="/")
    loaded, _ = load_described(str(path), net=net, variables=nested, stem="repeat")
    found = flatten_dict(loaded, sep="/")
    for name, array in variables.items():
        is_head = name.split("/")[1] == "head"
        if is_head and not has_classifier(net, head):
            continue
        # The difference of what the norms add is far below the spacing of most variances.
        if not np.allclose(found[name], array, rtol=1e-6, atol=2e-8):
            raise InputError(
                f"{path.name} is not the net: {name} differs; nothing was written; export without "
                "it: --config.export.torchvision=False"
            )
