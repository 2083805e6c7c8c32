"""The arrays of a trained DenseNet as torchvision's module loads them: the way back of `load.py`.

Design: torchvision's ResNet-50 is another net than ours (its blocks stride in the 3x3 convolution,
ours, as Keras's, in the first 1x1), so that no weights make it compute the same; only DenseNets
have a module there. It is `torchvision.models.DenseNet`, its first convolution made to take the
channels of the net's mix.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from hpa_jax.errors import InputError
from hpa_jax.models import BACKBONES
from hpa_jax.models.densenet import DenseNet
from hpa_jax.models.norm import BatchNorm
from hpa_jax.pretrained.load import load_described
from hpa_jax.pretrained.torch_names import CLASSIFIER, key_of

EPSILON = 1e-5
"""That PyTorch's batch norms add to the variance."""

_BACKBONES = ("params/backbone/", "batch_stats/backbone/")


def module_arguments(net: str) -> dict | None:
    """What `torchvision.models.DenseNet` has to be called with to be a net of ours.

    Args:
      net: one of hpa_jax.models.BACKBONES.

    Returns:
      Keyword arguments, as JSON has them; None for a net that torchvision has no module of.
    """
    module = BACKBONES[net]()
    if not isinstance(module, DenseNet):
        return None
    return {
        "growth_rate": module.growth,
        "block_config": list(module.depths),
        "num_init_features": module.stem,
    }


def to_torchvision(variables: Mapping[str, np.ndarray], head: str) -> dict[str, np.ndarray]:
    """A DenseNet's arrays under torchvision's keys.

    Args:
      variables: float32 arrays by flat name: `params/backbone/stem_conv/kernel`, for example.
      head: of the net. That of torchvision's module is the head `linear`; others are left out.

    Returns:
      float32 arrays, kernels as `[out, in, h, w]`; with the keys `classifier.weight` and
      `classifier.bias` where the head is linear.
    """
    arrays = {}
    for name, array in variables.items():
        if name.startswith(_BACKBONES):
            arrays[key_of(name)] = _as_theirs(name, array)
    if head == "linear":
        for name, key in CLASSIFIER.items():
            arrays[key] = np.ascontiguousarray(variables[name].T)
    return arrays


def _as_theirs(name: str, array: np.ndarray) -> np.ndarray:
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
        if is_head and head != "linear":
            continue
        # The difference of what the norms add is far below the spacing of most variances.
        if not np.allclose(found[name], array, rtol=1e-6, atol=2e-8):
            raise InputError(
                f"{path.name} is not the net: {name} differs; nothing was written; export without "
                "it: --config.export.torchvision=False"
            )
