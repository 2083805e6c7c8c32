"""What model cards are made from, of the export that version 0.3 wrote, as today's has it."""

import dataclasses
import json
from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.serving.card.facts import Facts, gather

KEPT = Path(__file__).resolve().parents[1] / "golden" / "version_0_3"
EVALUATED = KEPT / "expected"
"""The folder of that run's evaluation."""

FILES = (
    "model.safetensors",
    "forward.jaxexport",
    "model.json",
    "golden.safetensors",
    "manifest.json",
    "model.onnx",
    "bioimageio.zip",
    "torchvision.safetensors",
)

# As of a dataset that was built by an edge, with one channel missing.
PREPARATION = {
    "datasets": ["kept"],
    "pixel_size": 0.08,
    "white": {"8": 255, "16": 4095},
    "edge": 512,
    "rescaled_to": None,
    "size": [512, 512],
    "aspect": "pad",
    "channels": ["red", "green", "blue"],
    "intensities": {
        "green": {
            "mean": 0.0523,
            "std": 0.1012,
            "quantiles": {"0.01": 0.0, "0.5": 0.0196, "0.99": 0.4745},
        }
    },
}


def description() -> dict:
    """The contents of model.json."""
    return json.loads((KEPT / "run" / "export" / "model.json").read_text()) | {
        "onnx": {
            "weights": "float32",
            "operations": 18,
            "outputs": ["probabilities", "embedding"],
            "differences": {},
            "tolerances": {"probabilities": 1e-5, "embedding": 1e-4},
        },
        "preparation": PREPARATION,
    }


def facts(folders=(EVALUATED,), licence="", authors="", **changed) -> Facts:
    """Facts of that export; `changed` are keys of model.json."""
    config = Config()
    config.export = dataclasses.replace(config.export, licence=licence, authors=authors)
    return gather(config, description() | changed, FILES, folders)
