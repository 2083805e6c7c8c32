"""README.md of an export: its text, and whether it says what the export is."""

import re

from hpa_jax.errors import InputError
from hpa_jax.serving.card.body import LABELS_HEADER, NOT_FOR_DIAGNOSIS, body
from hpa_jax.serving.card.facts import Facts
from hpa_jax.serving.card.front_matter import front_matter
from hpa_jax.serving.decision import is_single_label
from hpa_jax.serving.yaml_text import from_yaml, to_yaml

_FENCE = "---\n"


def model_card(facts: Facts) -> str:
    """The card: its head and its body.

    Raises:
      InputError: a name of the run's settings makes it say something else.
    """
    head = front_matter(facts)
    card = f"{_FENCE}{to_yaml(head)}{_FENCE}\n{body(facts)}"
    check_card(card, facts)
    return card


def check_card(card: str, facts: Facts) -> None:
    """Reads a card as a site and as a person would.

    Args:
      card: its text.
      facts: that it was made from.

    Raises:
      InputError: the head has other values, the warning is missing, or the table of labels has
        other rows than the net has labels, or other thresholds.
    """
    _, head, text = card.split(_FENCE, 2)
    is_same = from_yaml(head) == front_matter(facts)
    rows = _rows(text)
    if is_single_label(facts.description):
        has_labels = len(rows) == len(facts.labels)
    else:
        thresholds = [f"{threshold:.4g}" for threshold in facts.description["thresholds"]]
        has_labels = [row[1] for row in rows] == thresholds
    if not is_same or not has_labels or NOT_FOR_DIAGNOSIS not in text:
        raise InputError(
            "README.md does not say what the export is; nothing was written; rename what has an "
            "unusual name (dataset, labels, --config.export.authors)"
        )


def _rows(text: str) -> list[list[str]]:
    """Cells of the table of labels."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {LABELS_HEADER} |"):
            break
    next(lines, None)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        # A line that is marked as text separates nothing.
        cells = re.split(r"(?<!\\)\|", line)
        rows.append([cell.strip() for cell in cells[1:-1]])
    return rows
