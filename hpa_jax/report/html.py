"""Text to HTML. Whatever comes from a dataset (Ids, file names, reasons) goes through `text` and is clipped there."""

import html
from collections.abc import Iterable, Sequence

_CLIPPED = 300  # characters


def text(value: object) -> str:
    """Escaped, for content and quoted attributes.

    Characters that are not to be seen (controls, marks that turn the direction of writing) become U+FFFD, so that a
    file's name can neither hide a part of itself nor turn around what stands after it.
    """
    plain = str(value)
    plain = plain if len(plain) <= _CLIPPED else plain[: _CLIPPED - 1] + "…"
    return html.escape(
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain), quote=True
    )


def number(value: int) -> str:
    """With commas between thousands."""
    return f"{int(value):,}"


def percent(share: float) -> str:
    """A share as per cent, with at least two digits that say something."""
    return f"{100 * share:.0f}%" if share >= 0.1 or share == 0 else f"{100 * share:.2g}%"


def plural(count: int, one: str, several: str = "") -> str:
    return f"{number(count)} {one if count == 1 else several or one + 's'}"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    kind: str = "",
    words: int = 1,
) -> str:
    """A table of cells that are HTML already; the first cell of a row is its heading. The first `words` are no numbers.

    `caption` is HTML too, without quotes.
    """
    if words == 2:
        kind = f"{kind} w2".strip()
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>\n'
        for first, *rest in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def without(name: str, what: str) -> str:
    """The note of a dataset that was built by a program that did not store `what` yet."""
    return f'<p class="none">{text(name)}: built without {what}. Build the dataset again to have it.</p>\n'
