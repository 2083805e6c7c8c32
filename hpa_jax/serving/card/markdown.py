"""Texts in Markdown: names that come from a run's settings or a csv stay text and on their line."""

import re
from collections.abc import Iterable, Sequence

from hpa_jax.errors import one_line

LONGEST = 200
"""Characters of a name; what is longer is cut."""

# Between letters and digits an underscore is one, and so is a hyphen anywhere within a line.
_MARKUP = re.compile(r"[!\"#$%&'*+/:;<=>?@\[\\\]^`{|}~]|(?<![^\W_])_|_(?![^\W_])")
# Sites make links of these without any markup.
_LINK = re.compile(r"\b(www)(?=\.)", re.IGNORECASE)


def plain(text: object) -> str:
    """A name on one line: white space as single spaces, "?" for what cannot be printed."""
    return one_line(str(text), limit=LONGEST).strip()


def escape(text: object) -> str:
    """A name as Markdown that shows it and does nothing else."""
    escaped = _MARKUP.sub(lambda found: "\\" + found.group(), plain(text))
    return _LINK.sub(r"\1\\", escaped)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [_row(header), _row(["---"] * len(header))]
    for cells in rows:
        lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


# From here on four digits need an exponent.
_LARGE = 10_000


def number(value: float) -> str:
    """A number as people read it: four digits, no exponent where it can be helped."""
    if abs(value) >= _LARGE:
        return f"{value:.0f}"
    return f"{value:.4g}"
