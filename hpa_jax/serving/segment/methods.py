"""What finds cells, by name: a method of this program, or somebody's masks.

To add a method, write a function that opens it, from the folder of its weights or None to a
`Segmenter`, and name it in METHODS. It is imported when it is chosen: what one of them needs, the
others do without.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.mask_folder import MaskFolder
from hpa_jax.serving.segment.request import SegmentRequest


class Segmenter(NamedTuple):
    """Finds cells. Several threads may use it at a time.

    Attributes:
      name: of the method, for people.
      version: changes when the masks of the same field may.
      find: `(Id, uint8 [H, W, 4])` to `Instances`; raises InputError for a field without masks.
      stamp: of an Id, what changes when something else that its masks come from does.
    """

    name: str
    version: str
    find: Callable[[str, np.ndarray], Instances]
    stamp: Callable[[str], list] = lambda image_id: []


class Method(NamedTuple):
    """How a method is opened.

    Attributes:
      module: that has it.
      opener: name of the function there, `(weights: Path | None) -> Segmenter`; with weights
        `(weights: Path | None, scale: float | None) -> Segmenter`.
      has_weights: whether it takes --weights and --scale.
    """

    module: str
    opener: str
    has_weights: bool = False


METHODS: dict[str, Method] = {
    "classical": Method("hpa_jax.serving.segment.methods", "open_classical"),
    "unet": Method("hpa_jax.serving.segment.unet", "open_unet", has_weights=True),
}
"""Names of methods; the first one is the default."""

# Raised when the classical method finds other cells than before in the same field.
_CLASSICAL_VERSION = "1"


def open_segmenter(request: SegmentRequest) -> Segmenter:
    """Opens what a request asks for.

    Raises:
      InputError: there is no such method, it lacks a package or its weights, or it has none.
    """
    if request.masks is not None:
        return open_masks(request.masks)
    method = METHODS.get(request.method)
    if method is None:
        raise InputError(f"method={request.method} is unknown; choose one of {', '.join(METHODS)}")
    if request.weights is not None and not method.has_weights:
        raise InputError(f"weights={request.weights}: {request.method} has none; leave it out")
    if request.scale is not None and not method.has_weights:
        raise InputError(f"scale={request.scale}: {request.method} finds its own; leave it out")
    opener = getattr(importlib.import_module(method.module), method.opener)
    if method.has_weights:
        return opener(request.weights, request.scale)
    return opener(request.weights)


def open_classical(weights: Path | None) -> Segmenter:
    """`hpa_jax.segmentation.classical`, which has no weights."""
    from hpa_jax.segmentation.classical import segment

    def find(image_id: str, field: np.ndarray) -> Instances:
        return segment(field)

    return Segmenter("classical", _CLASSICAL_VERSION, find)


def open_masks(folder: Path) -> Segmenter:
    """Label images that another program wrote.

    Raises:
      InputError: there are none.
    """
    masks = MaskFolder(folder)

    def find(image_id: str, field: np.ndarray) -> Instances:
        return masks.read(image_id, *field.shape[:2])

    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return Segmenter(f"the masks of {folder}", digest[:16], find, masks.stamp)


def check_packages() -> None:
    """Refuses to segment where scikit-image is missing; polygons need it too.

    Raises:
      InputError: says how to install it.
    """
    if importlib.util.find_spec("skimage") is None:
        raise InputError(
            "cells are found with the package scikit-image, which is not installed: "
            "pip install 'hpa_jax[segment]'"
        )
