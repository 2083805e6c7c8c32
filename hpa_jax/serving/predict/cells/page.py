"""The page of a prediction cell by cell: each image with its cells, and what each holds.

One file, no request. Outlines are SVG over a small picture: whoever points at a cell reads its
labels.
"""

import base64
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from hpa_jax.folders.results import GENERATOR
from hpa_jax.images.false_color import false_color, stretch_contrast
from hpa_jax.images.folder import FaultyImage, ImageFolder
from hpa_jax.images.resize import resize
from hpa_jax.serving.predict.cells import pooling
from hpa_jax.serving.predict.cells.found import FieldCells
from hpa_jax.serving.predict.cells.overlays import (
    NO_LABEL,
    caption,
    colour_of,
    decided_labels,
)
from hpa_jax.serving.predict.cells.tables import takes_images
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.tables.content import Content

_LONGER_SIDE = 512
_WEBP_QUALITY = 75
_MOST_SHOWN = 100
"""A page with more has tens of megabytes; the tables have them all."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
{{ generator }}">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark"><title>Cells</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
section { border-top: 1px solid #8886; padding: 1rem 0; display: flex; flex-wrap: wrap; gap: 1rem }
h2 { font-size: 1rem; overflow-wrap: anywhere; margin: 0; width: 100% }
svg { background: #000; max-width: 100%; height: auto; align-self: flex-start; flex: none }
polygon { fill: transparent; stroke-width: 2; vector-effect: non-scaling-stroke }
polygon.border { stroke-dasharray: 5 3 }
polygon:hover { fill: #fff3 }
text { font: 12px system-ui, sans-serif; fill: #fff; stroke: #000; stroke-width: 3;
  paint-order: stroke; pointer-events: none }
table { border-collapse: collapse; font-size: .85rem; align-self: flex-start; flex: 1;
  min-width: min(18rem, 100%) }
td, th { padding: .1rem .6rem .1rem 0; text-align: left; vertical-align: top }
td.n { font-variant-numeric: tabular-nums }
i { display: inline-block; width: .7rem; height: .7rem; border-radius: .2rem }
</style></head><body>
<h1>Cells</h1>
<p>{{ cells }} cells of {{ count }} images, scored one by one. The colour is that of a cell's surest
label; a dashed outline touches the border of the image, and its cell may go on outside. Not for
diagnosis.</p>
{% if shown < count %}<p>The first {{ shown }} images; the tables have all.</p>{% endif %}
{% for one in images %}<section><h2>{{ one.id }}</h2>
<svg width="{{ one.width }}" height="{{ one.height }}"
  viewBox="0 0 {{ one.field_width }} {{ one.field_height }}" role="img" aria-label="{{ one.id }}">
{% if one.uri %}<image href="{{ one.uri }}" width="{{ one.field_width }}"
  height="{{ one.field_height }}"/>
{% endif %}{% for cell in one.cells %}<polygon points="{{ cell.points }}" stroke="{{ cell.colour }}"
{% if cell.border %} class="border"{% endif %}><title>{{ cell.number }}: {{ cell.text }}</title>
</polygon>
{% endfor %}{% for cell in one.cells %}<text x="{{ cell.x }}" y="{{ cell.y }}"
  style="font-size: {{ one.font }}px">{{ cell.number }}</text>
{% endfor %}</svg>
<table><tr><th></th><th>cell</th><th>labels</th></tr>
{% if one.own %}<tr><td></td><td>image</td><td>{{ one.own }}</td></tr>{% endif %}
{% if one.pooled %}<tr><td></td><td>cells</td><td>{{ one.pooled }}</td></tr>{% endif %}
{% if one.differs %}<tr><td></td><td></td><td>{{ one.differs }}</td></tr>{% endif %}
{% for cell in one.cells %}<tr><td><i style="background: {{ cell.colour }}"></i></td>
<td class="n">{{ cell.number }}</td><td>{{ cell.text }}</td></tr>
{% endfor %}</table></section>
{% endfor %}</body></html>
"""


def page_path(out: Path) -> Path:
    """Where the page lies, beside the table of cells."""
    return out.with_suffix(".html")


def render(content: Content, rows: Iterable[Row], count: int, images: ImageFolder) -> str:
    """The page.

    Args:
      content: of the table of cells.
      rows: of the images that were scored.
      count: how many those are.
      images: to show them.
    """
    number_of = {image_id: number for number, image_id in enumerate(images.ids)}
    shown = []
    for row in islice(rows, _MOST_SHOWN):
        height, width = row.cells.shape
        factor = _LONGER_SIDE / max(height, width)
        shown.append(
            {
                "id": row.id,
                "uri": _uri(images, number_of[row.id]),
                "width": round(width * factor),
                "height": round(height * factor),
                "field_width": width,
                "field_height": height,
                "font": f"{12 / factor:.4g}",
                "own": _caption(content, row),
                "pooled": _pooled(content, row.cells),
                "differs": _differs(content, row.cells),
                "cells": list(_cells(content, row.cells)),
            }
        )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(
        generator=Markup(GENERATOR),
        cells=content.count,
        count=count,
        shown=len(shown),
        images=shown,
    )


def _caption(content: Content, row: Row) -> str:
    """The labels of an image as a whole; empty where the net takes cells alone."""
    if not takes_images(content.description):
        return ""
    labels = decided_labels(content.description, row.probabilities)
    return caption(content.description, row.probabilities, labels)


def _pooled(content: Content, found: FieldCells) -> str:
    """The labels of an image by its cells; empty where there are none."""
    if not found.cells:
        return ""
    how = content.about["cells"]["pool"]
    pooled = pooling.pool(found.probabilities, how, found.attention)
    labels = decided_labels(content.description, pooled)
    return f"{caption(content.description, pooled, labels)} ({how})"


def _differs(content: Content, found: FieldCells) -> str:
    """In which label the cells differ most; empty where there are not two."""
    if len(found.cells) < 2:
        return ""
    divergence = pooling.divergence(found.probabilities)
    most = int(divergence.argmax())
    return f"cells differ most in {content.names[most]}: {divergence[most]:.2f} bits"


def _cells(content: Content, found: FieldCells) -> Iterator[dict]:
    for at, (cell, outline) in enumerate(zip(found.cells, found.outlines, strict=True)):
        probabilities = found.probabilities[at]
        labels = decided_labels(content.description, probabilities)
        red, green, blue = colour_of(labels[0]) if labels else NO_LABEL
        yield {
            "number": cell.cell,
            # The middle of a pixel is half a pixel from its corner, where SVG counts from.
            "points": " ".join(f"{x + 0.5:g},{y + 0.5:g}" for x, y in outline.tolist()),
            "colour": f"#{red:02x}{green:02x}{blue:02x}",
            "border": bool(cell.touches_border),
            "x": f"{cell.centroid_x:.1f}",
            "y": f"{cell.centroid_y:.1f}",
            "text": caption(content.description, probabilities, labels),
        }


def _uri(images: ImageFolder, number: int) -> str:
    try:
        pixels, _ = images.read(number)
    except FaultyImage:
        return ""
    factor = _LONGER_SIDE / max(pixels.shape[:2])
    height = max(1, round(pixels.shape[0] * factor))
    width = max(1, round(pixels.shape[1] * factor))
    small = false_color(stretch_contrast(resize(pixels, (height, width))))
    picture = np.ascontiguousarray(small[..., ::-1])
    _, encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"
