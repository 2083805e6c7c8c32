"""Where the mistakes of `hep2.py` lie: by pattern and by specimen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.metrics.single_label import confusion_matrix, decide

MOSTLY_RIGHT = 0.95
SHOWN = 10
"""Specimens of the table, those with the most mistakes."""


class Specimen(NamedTuple):
    """The cells of one specimen, which all have one pattern.

    Attributes:
      pattern: position in the vocabulary.
      taken_for: the pattern that more of its cells were given than any other.
      cells: their number.
      mistakes: cells that were given another pattern than theirs.
    """

    pattern: int
    taken_for: int
    cells: int
    mistakes: int


def mistakes_text(
    scores: np.ndarray, targets: np.ndarray, groups: np.ndarray, names: Sequence[str]
) -> str:
    """Tables by pattern and by specimen, and a line between them.

    Args:
      scores: float `[N, L]`.
      targets: 0/1 `[N, L]`, one 1 a row.
      groups: int `[N]`, the specimen of each cell.
      names: of the L patterns.
    """
    specimens = specimens_of(scores, targets, groups)
    confusion = confusion_markdown(scores, targets, groups, names)
    return f"{confusion}\n\n{summary(specimens)}\n\n{specimens_markdown(specimens, names)}"


def specimens_of(scores: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> list[Specimen]:
    """Every specimen, the one with the most mistakes first.

    Args:
      scores: float `[N, L]`.
      targets: 0/1 `[N, L]`, one 1 a row.
      groups: int `[N]`, the specimen of each cell.
    """
    predicted = scores.argmax(axis=1)
    patterns = targets.argmax(axis=1)
    found = []
    for group in np.unique(groups):
        cells = groups == group
        pattern = int(patterns[cells][0])
        given = np.bincount(predicted[cells], minlength=targets.shape[1])
        mistakes = int(given.sum() - given[pattern])
        found.append(Specimen(pattern, int(given.argmax()), int(given.sum()), mistakes))
    return sorted(found, key=lambda specimen: -specimen.mistakes)


def summary(specimens: Sequence[Specimen]) -> str:
    """How few specimens hold the mistakes, in a line."""
    mistakes = np.cumsum([specimen.mistakes for specimen in specimens])
    if not mistakes[-1]:
        return f"{len(specimens)} specimens, and no mistake"
    right = [1 - specimen.mistakes / specimen.cells for specimen in specimens]
    mostly_right = sum(fraction >= MOSTLY_RIGHT for fraction in right)
    taken_for_another = sum(specimen.taken_for != specimen.pattern for specimen in specimens)
    half = int(np.searchsorted(mistakes, mistakes[-1] / 2)) + 1
    return (
        f"{len(specimens)} specimens: {mostly_right} with {MOSTLY_RIGHT:.0%} of their cells right "
        f"and more, {taken_for_another} mostly taken for another pattern; {half} hold half of "
        f"the {mistakes[-1]} mistakes"
    )


def specimens_markdown(specimens: Sequence[Specimen], names: Sequence[str]) -> str:
    """The specimens with the most mistakes as a table."""
    lines = ["| specimen of | cells | right | taken for most often |", "| --- " * 4 + "|"]
    for specimen in specimens[:SHOWN]:
        right = specimen.cells - specimen.mistakes
        pattern, taken_for = names[specimen.pattern], names[specimen.taken_for]
        lines.append(f"| {pattern} | {specimen.cells} | {right} | {taken_for} |")
    return "\n".join(lines)


def confusion_markdown(
    scores: np.ndarray, targets: np.ndarray, groups: np.ndarray, names: Sequence[str]
) -> str:
    """Cells by their pattern (row) and the one that they were given, as a table."""
    counts = confusion_matrix(decide(scores), targets)
    patterns = targets.argmax(axis=1)
    head = ["", *names, "right", "specimens"]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for pattern, row in enumerate(counts):
        right = f"{row[pattern] / row.sum():.3f}" if row.sum() else ""
        specimens = len(np.unique(groups[patterns == pattern]))
        cells = [names[pattern], *map(str, row), right, str(specimens)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
