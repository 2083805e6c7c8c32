"""What PyTorch's files call the arrays of a net of ours, by its family."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from hpa_jax.models import BACKBONES
from hpa_jax.models.convnext import ConvNeXt
from hpa_jax.models.densenet import DenseNet
from hpa_jax.pretrained import torch_convnext, torch_densenet


class Scheme(NamedTuple):
    """The names of a family, torchvision's for each array.

    Attributes:
      key_of: `params/backbone/stem_conv/kernel`, for example, to torchvision's key.
      canonical: a key of any known style to torchvision's.
      classifier: torchvision's keys of its classifier's arrays, by the names in `head`.
      head: of our heads the one that is torchvision's classifier.
    """

    key_of: Callable[[str], str]
    canonical: Callable[[str], str]
    classifier: Mapping[str, str]
    head: str


# Counts of training steps, which no array of ours corresponds to.
IGNORED = re.compile(r"\.num_batches_tracked$")

_FAMILIES = {ConvNeXt: torch_convnext, DenseNet: torch_densenet}


def scheme_of(net: str) -> Scheme | None:
    """The names of a net's arrays; None for a net of which no such files are read.

    Args:
      net: one of hpa_jax.models.BACKBONES, or a net of several of them, which has none.
    """
    if net not in BACKBONES:
        return None
    names = _FAMILIES.get(type(BACKBONES[net]()))
    if names is None:
        return None
    return Scheme(names.key_of, names.canonical, names.CLASSIFIER, names.HEAD)
