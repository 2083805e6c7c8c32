"""What an export has for people and for other programs, beside the net itself.

torchvision.safetensors   of a DenseNet or ConvNeXt: its weights as torchvision's module loads them
bioimageio.zip            a package for bioimage.io
README.md                 the model card

Each is checked as it is written.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from hpa_jax.config import Config
from hpa_jax.files import write_atomically
from hpa_jax.folders.export_manifest import (
    BIOIMAGE,
    CARD,
    DESCRIPTION,
    MANIFEST,
    ONNX,
    TORCHVISION,
)
from hpa_jax.pretrained.torchvision_weights import (
    check_torchvision,
    module_arguments,
    to_torchvision,
)
from hpa_jax.serving.bioimage.package import make_package
from hpa_jax.serving.card.facts import gather
from hpa_jax.serving.card.write import model_card


def write_extras(
    folder: Path,
    config: Config,
    variables: Mapping[str, np.ndarray],
    golden: Mapping[str, np.ndarray],
    evaluated: Sequence[Path],
) -> None:
    """Writes them into the folder of an export that has all other files but its manifest.

    Args:
      folder: of the export.
      config: of the run.
      variables: float32 arrays by flat name.
      golden: `images` and the outputs of JAX by name.
      evaluated: folders that may hold the run's evaluation.json.

    Raises:
      InputError: one of them is not what it should be.
      OSError: the folder cannot be written.
    """
    if config.export.torchvision and module_arguments(config.model.name) is not None:
        _write_torchvision(folder / TORCHVISION, config, variables)
    settings = (folder / DESCRIPTION).read_bytes()
    description = json.loads(settings)
    has_package = config.export.bioimageio and (folder / ONNX).exists()
    names = [path.name for path in sorted(folder.iterdir())]
    names.append(MANIFEST)
    if has_package:
        names.append(BIOIMAGE)
    facts = gather(config, description, names, evaluated)
    if has_package:
        model = (folder / ONNX).read_bytes()
        write_atomically(folder / BIOIMAGE, make_package(facts, model, settings, golden))
    write_atomically(folder / CARD, model_card(facts))


def _write_torchvision(path: Path, config: Config, variables: Mapping[str, np.ndarray]) -> None:
    arrays = to_torchvision(variables, config.model.name, config.model.head)
    # One entry: of several, the library writes another order each time.
    write_atomically(path, save(arrays, metadata={"format": "pt"}))
    check_torchvision(path, config.model.name, config.model.head, variables)
