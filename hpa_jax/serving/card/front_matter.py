"""The head of a model card, as Hugging Face reads it.

References:
  Hugging Face Hub, "Model Cards", https://huggingface.co/docs/hub/model-cards
"""

import re

from hpa_jax.folders.export_manifest import ONNX, TORCHVISION
from hpa_jax.serving.card.evaluation import Evaluation, Figure
from hpa_jax.serving.card.facts import Facts
from hpa_jax.serving.card.markdown import plain
from hpa_jax.serving.decision import is_single_label

TASK = "image-classification"
_TAGS = (
    "biology",
    "microscopy",
    "fluorescence-microscopy",
)
_ATLAS_TAG = "protein-localization"
# What the Hub takes for a dataset's name.
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def front_matter(facts: Facts) -> dict:
    """The values of the head, in their order.

    Without an evaluation there is no `model-index`; a dataset whose name cannot be one on the Hub
    is named in the card alone.
    """
    tags = list(_TAGS)
    if facts.is_of_the_atlas:
        tags.append(_ATLAS_TAG)
    tags += [f"{_kind(facts)}-classification", "jax"]
    if ONNX in facts.files:
        tags.append("onnx")
    if TORCHVISION in facts.files:
        tags.append("pytorch")
    head = {
        "license": facts.licence.lower() or "unknown",
        "library_name": "hpa_jax",
        "pipeline_tag": TASK,
        "tags": tags,
    }
    datasets = [name for name in facts.datasets if _is_dataset(name)]
    if datasets:
        head["datasets"] = datasets
    if facts.evaluation is not None:
        head["metrics"] = _kinds(facts.evaluation)
        head["model-index"] = [_index(facts, facts.evaluation)]
    return head


def _is_dataset(name: str) -> bool:
    return _DATASET.fullmatch(name) is not None and ".." not in name and "--" not in name


def _kinds(evaluation: Evaluation) -> list[str]:
    return list(dict.fromkeys(figure.kind for figure in evaluation.figures))


def _kind(facts: Facts) -> str:
    return "single-label" if is_single_label(facts.description) else "multi-label"


def _index(facts: Facts, evaluation: Evaluation) -> dict:
    dataset = plain(evaluation.dataset)
    result = {
        "task": {"type": TASK, "name": f"{_kind(facts)} image classification"},
        "dataset": {"name": dataset, "type": dataset, "split": plain(evaluation.split)},
        "metrics": [_metric(figure, evaluation.level) for figure in evaluation.figures],
    }
    return {"name": f"{facts.net}-{facts.head}-{facts.size}px", "results": [result]}


def _metric(figure: Figure, level: float) -> dict:
    metric = {
        "type": figure.kind,
        "name": figure.name,
        "value": round(figure.value, 6),
    }
    if figure.interval is not None:
        low, high = figure.interval
        metric["name"] += f"; {100 * level:g} % interval {low:.3f} to {high:.3f}"
        metric["args"] = {
            "interval_level": level,
            "interval": [round(low, 6), round(high, 6)],
        }
    return metric
