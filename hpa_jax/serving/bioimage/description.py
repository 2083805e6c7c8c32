"""rdf.yaml of a package: what its net takes and gives, by the model description of bioimage.io.

References:
  "Bioimage Model Description", format 0.5, https://bioimage-io.github.io/spec-bioimage-io/
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from hpa_jax.labels import CHANNELS
from hpa_jax.serving.card.body import NOT_FOR_DIAGNOSIS, papers
from hpa_jax.serving.card.facts import Facts
from hpa_jax.serving.decision import is_single_label
from hpa_jax.serving.served import PROBABILITIES

FORMAT = "0.5.4"
"""Of the description. Nothing of a later one is used, so that most programs read it."""

MODEL = "model.onnx"
CARD = "README.md"
SETTINGS = "model.json"
COVER = "cover.png"
INPUT = "images"
EMBEDDING = "embedding"

# The most that an absolute tolerance may be of the largest value of a test array.
_LARGEST_TOLERANCE = 0.01
_ABSOLUTE_TOLERANCE = 1e-3
_RELATIVE_TOLERANCE = 1e-3
_ANY_NAME = re.compile(r"[^A-Za-z0-9_+\- ()]+")
_LONGEST_NAME = 64
_NOT_IDENTIFIER = re.compile(r"\W+")


def test_file(tensor: str) -> str:
    """Name of the file with the test array of an input or output."""
    return f"test_{tensor}.npy"


def describe_package(
    facts: Facts, tensors: Mapping[str, np.ndarray], digests: Mapping[str, str]
) -> dict:
    """The contents of rdf.yaml.

    Args:
      facts: of the export.
      tensors: test arrays: `images`, then the outputs.
      digests: SHA-256 of each file of the package, hex, by name.
    """
    outputs = [name for name in tensors if name != INPUT]
    description = {
        "format_version": FORMAT,
        "type": "model",
        "name": _name(facts),
        "description": f"{_what(facts)}, {facts.size} px. {NOT_FOR_DIAGNOSIS}",
        "documentation": CARD,
        "covers": [COVER],
        "attachments": [_file(SETTINGS, digests)],
        "authors": _authors(facts),
        "cite": [{"text": text, "doi": doi} for text, doi in papers(facts)],
        "tags": _tags(facts),
        "inputs": [_input(facts, digests)],
        "outputs": [_output(facts, name, tensors[name], digests) for name in outputs],
        "weights": {
            "onnx": {
                **_file(MODEL, digests),
                "opset_version": facts.description["onnx"]["operations"],
            }
        },
        "config": {
            "bioimageio": {
                "reproducibility_tolerance": [_tolerance(name, tensors[name]) for name in outputs]
            }
        },
    }
    if facts.licence:
        description["license"] = facts.licence
    return description


def _what(facts: Facts) -> str:
    labels = f"Probabilities of {len(facts.labels)} labels"
    if facts.is_of_the_atlas:
        return (
            f"{labels} of protein localisation of a field of view in four channels (microtubules, "
            "protein, nucleus, endoplasmic reticulum)"
        )
    return f"{labels} of an image of fluorescence microscopy"


def _tags(facts: Facts) -> list[str]:
    tags = ["classification", "fluorescence-light-microscopy"]
    if facts.is_of_the_atlas:
        tags += ["human-protein-atlas", "protein-localization"]
    return [*tags, facts.net]


def _name(facts: Facts) -> str:
    name = f"{facts.task} {facts.net} {facts.head} {facts.size} px"
    return _ANY_NAME.sub(" ", name)[:_LONGEST_NAME].strip()


def _authors(facts: Facts) -> list[dict]:
    """The description wants one, and none with a slash."""
    names = facts.authors or ("not stated",)
    return [{"name": name.replace("/", " ").replace("\\", " ")} for name in names]


def channel_names(labels: Sequence[str]) -> list[str]:
    """Names of labels as identifiers, which readers of older descriptions want, each once."""
    names = []
    for position, label in enumerate(labels):
        name = _NOT_IDENTIFIER.sub("_", label).strip("_")
        if not name.isidentifier() or name in names:
            name = f"label_{position}_{name}".rstrip("_")
        names.append(name)
    return names


def _file(name: str, digests: Mapping[str, str]) -> dict:
    return {"source": name, "sha256": digests[name]}


def _input(facts: Facts, digests: Mapping[str, str]) -> dict:
    return {
        "id": INPUT,
        "description": "A field of view, prepared as the documentation says",
        "axes": [
            {"type": "batch"},
            {"type": "space", "id": "y", "size": facts.size},
            {"type": "space", "id": "x", "size": facts.size},
            {"type": "channel", "channel_names": list(CHANNELS)},
        ],
        "data": {"type": "uint8", "range": [0, 255]},
        "test_tensor": _file(test_file(INPUT), digests),
    }


def _output(facts: Facts, name: str, array: np.ndarray, digests: Mapping[str, str]) -> dict:
    batch = {"type": "batch"}
    labels = {"type": "channel", "channel_names": channel_names(facts.labels)}
    if name == PROBABILITIES:
        axes = [batch, labels]
        data = {"type": "float32", "range": [0, 1]}
        text = "Of each label; predicted where it is above the threshold in model.json"
        if is_single_label(facts.description):
            text = "Of each label, which sum to 1; the largest is predicted"
    elif name == EMBEDDING:
        axes = [batch, {"type": "index", "size": array.shape[1]}]
        data = {"type": "float32"}
        text = "Mean of the last feature map over its positions"
    else:
        height = {"type": "space", "id": "y", "size": array.shape[1]}
        width = {"type": "space", "id": "x", "size": array.shape[2]}
        axes = [batch, height, width, labels]
        data = {"type": "float32"}
        text = "Class-activation maps, 0 or more, in units of the logit"
    return {
        "id": name,
        "description": text,
        "axes": axes,
        "data": data,
        "test_tensor": _file(test_file(name), digests),
    }


def _tolerance(name: str, array: np.ndarray) -> dict:
    """What another machine may differ by: the validator refuses more than a hundredth."""
    largest = float(array.max())
    return {
        "output_ids": [name],
        "relative_tolerance": _RELATIVE_TOLERANCE,
        "absolute_tolerance": min(_ABSOLUTE_TOLERANCE, _LARGEST_TOLERANCE / 2 * largest),
    }
