"""From sections of plain values to one HTML file without a script that requests nothing.

Notes:
- The templates escape every value, and `visible` clips it and shows its invisible characters, so
  that an Id, a file name or a reason from a dataset stays text wherever it is printed.
- A policy in the page's head lets a browser load only images from data URIs and the page's own
  style: text that slipped through unescaped could neither run nor call home.
"""

import importlib.resources
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from hpa_jax.report.tables import Table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
UNDEFINED = "–"
"""Printed in place of a metric that is not defined."""

# Of one value on a page: an Id of a megabyte must not become a page of a gigabyte.
_MAX_CHARACTERS = 300


@dataclass(frozen=True)
class Section:
    """A section of a page, with the tables that hold its numbers.

    Attributes:
      key: the anchor of the link to it.
      title: the heading.
      template: the file in templates/ that renders `data`.
      data: plain values, by the names that the template uses.
      tables: written as csv and JSON beside the page.
    """

    key: str
    title: str
    template: str
    data: Mapping[str, Any]
    tables: Sequence[Table] = ()


class Card(NamedTuple):
    """A number at a glance; a wide one has room for two."""

    title: str
    value: str
    note: str
    wide: bool = False


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at; `section` is the key of the section that shows it."""

    section: str
    headline: str
    names: Sequence[str] = ()
    details: str = ""
    flag: str = ""


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Renders a complete HTML file.

    Args:
      title: plain text.
      subtitle: plain text.
      sections: in the order of the page.

    Returns:
      The file's text; equal arguments give equal text.
    """
    style = importlib.resources.files("hpa_jax.report").joinpath("style.css")
    rendered = []
    for section in sections:
        # Each section has a scope of its own: no template sees another's values.
        body = _ENVIRONMENT.get_template(section.template).render(section.data)
        rendered.append((section, Markup(body)))
    return _ENVIRONMENT.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        policy=POLICY,
        style=Markup(style.read_text(encoding="utf-8")),
        sections=rendered,
    )


def visible(value: Any) -> Any:
    """Clips text and replaces its invisible characters; markup that is safe already passes.

    Controls and marks that change the direction of writing become U+FFFD: a file's name can
    neither hide a part of itself nor reverse the text behind it.
    """
    if hasattr(value, "__html__"):
        return value
    plain = str(value)
    if len(plain) > _MAX_CHARACTERS:
        plain = plain[: _MAX_CHARACTERS - 1] + "…"
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)


def names_of(items: Iterable[Any]) -> list[str]:
    """Returns the names of datasets or runs."""
    return [item.name for item in items]


def number(value: int) -> str:
    """A count with commas between thousands."""
    return f"{int(value):,}"


def short_number(value: int) -> str:
    """A count in at most four characters: 9999, 12k, 3M."""
    if value < 10_000:
        return str(value)
    if value < 1_000_000:
        return f"{value / 1e3:.0f}k"
    return f"{value / 1e6:.0f}M"


def percent(fraction: float) -> str:
    """A fraction as per cent, with at least two significant digits."""
    if fraction == 0 or fraction >= 0.1:
        return f"{100 * fraction:.0f}%"
    return f"{100 * fraction:.2g}%"


def decimal(value: float | None, sign: str = "") -> str:
    """A metric with three decimals, or a dash; sign '+' also marks what is above 0."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:{sign}.3f}".replace("-", "\N{MINUS SIGN}")


def px(value: float) -> str:
    """A position in a chart."""
    return f"{value:.1f}"


def plural(count: int, one: str, several: str = "") -> str:
    """A count with its noun; `several` is the plural where it is not `one` with an s."""
    if count == 1:
        return f"{number(count)} {one}"
    return f"{number(count)} {several or one + 's'}"


def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hpa_jax.report"),
        autoescape=True,
        # Called with every value that is printed, before it is escaped.
        finalize=visible,
        # A misspelt name is an error, not an empty cell.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (number, short_number, percent, decimal, px, plural):
        environment.filters[function.__name__] = function
    return environment


_ENVIRONMENT = _make_environment()
