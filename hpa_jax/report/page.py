"""Sections to one HTML file that needs nothing but itself: no server, no script, no request.

A policy in its head lets a browser load nothing but pictures from data URIs and the page's own style, so that even
text that slipped through unescaped could neither run nor call home.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hpa_jax.report.html import text
from hpa_jax.report.style import STYLE

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Section(NamedTuple):
    key: str  # of the link to it
    title: str
    body: str  # HTML


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole file. `title` and `subtitle` are plain text."""
    contents = "".join(
        f'<li><a href="#{section.key}">{text(section.title)}</a></li>' for section in sections
    )
    bodies = "".join(
        f'<section id="{section.key}" aria-labelledby="{section.key}-title">'
        f'<h2 id="{section.key}-title">{text(section.title)}</h2>\n{section.body}</section>\n'
        for section in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f"<header><h1>{text(title)}</h1><p>{text(subtitle)}</p></header>\n"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n'
        f"<main>\n{bodies}</main>\n</body></html>\n"
    )
