"""What an exported net looked at, by the gradient: for heads whose maps are in no closed form.

The exported forward pass has no derivative. The net is therefore made again, from the names and
numbers in model.json and the exported parameters, and `evaluation.grad_cam` differentiates its
head.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file

from hpa_jax.errors import InputError
from hpa_jax.evaluation.grad_cam import make_grad_cam
from hpa_jax.folders.export_manifest import PARAMETERS
from hpa_jax.models import create_model


class GradientMaps:
    """Maps of an export, one label at a time.

    Args:
      folder: of the export, whose digests have been checked.
      description: contents of its model.json.

    Raises:
      InputError: its model.json does not say what net it is.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]):
        try:
            model = description["provenance"]["config"]["model"]
            channel_mix = description.get("channel_mix") or description["mix"]
            statistics = description["normalisation"]
            net = create_model(
                model["name"],
                head=model["head"],
                num_labels=len(description["labels"]),
                tile=model.get("tile", 0),
                dtype="float32",
            )
        except KeyError as error:
            raise InputError(
                f"{folder}: its model.json has no {error}, by which the net is made again for "
                "--overlays; export it again"
            ) from None
        matrix = tuple(tuple(row) for row in channel_mix["matrix"])
        mean = tuple(statistics["mean"])
        std = tuple(statistics["std"])
        preparation = {
            "channel_mix": matrix,
            "mean": mean,
            "std": std,
            # Already those of the mixed channels.
            "input_statistics": (mean, std),
        }
        self._grad_cam = make_grad_cam(net, preparation=preparation)
        self._variables = unflatten_dict(load_file(folder / PARAMETERS), sep="/")

    def __call__(self, pixels: np.ndarray, labels: Sequence[int]) -> list[np.ndarray]:
        """Maps of an image.

        Args:
          pixels: uint8 [S, S, 4].
          labels: positions of labels among the net's.

        Returns:
          float32 [h, w] for each of them, 0 or more.
        """
        maps = []
        for label in labels:
            heat, _ = self._grad_cam(self._variables, pixels[None], np.array([label]))
            maps.append(np.asarray(jax.device_get(heat))[0])
        return maps
