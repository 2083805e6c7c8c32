"""The page of `similar`: each image beside those that are nearest to it. One file, no request."""

import base64
from collections.abc import Sequence

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from hpa_jax.folders.results import GENERATOR
from hpa_jax.images.false_color import false_color, stretch_contrast
from hpa_jax.images.folder import FaultyImage, ImageFolder
from hpa_jax.images.resize import fit_square
from hpa_jax.serving.predict.reference import Reference

_SIDE = 128
_WEBP_QUALITY = 75
# A page with more has megabytes; the csv has them all.
_MOST_SHOWN = 300

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
{{ generator }}">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark"><title>Similar images</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
section { border-top: 1px solid #8886; padding: 1rem 0 }
h2 { font-size: 1rem; overflow-wrap: anywhere; margin: 0 0 .5rem }
ol { display: flex; flex-wrap: wrap; gap: 1rem; list-style: none; margin: 0; padding: 0 }
li { width: {{ side }}px; font-size: .85rem; overflow-wrap: anywhere }
img { display: block; width: {{ side }}px; height: {{ side }}px; background: #000 }
b { font-variant-numeric: tabular-nums }
</style></head><body>
<h1>Similar images</h1>
<p>{{ count }} images, and those of <code>{{ table }}</code> whose embeddings are nearest by their
cosine: 1 is the same direction. Likeness to a net is no proof of anything; not for diagnosis.</p>
{% if shown < count %}<p>The first {{ shown }}; the csv has all.</p>{% endif %}
{% for one in images %}<section><h2>{{ one.id }}</h2><ol>
<li>{% if one.uri %}<img alt="{{ one.id }}" src="{{ one.uri }}">{% endif %}this image</li>
{% for near in one.near %}<li>{% if near.uri %}<img alt="{{ near.id }}" src="{{ near.uri }}">
{% endif %}<b>{{ near.cosine }}</b> {{ near.id }}<br>{{ near.labels }}</li>
{% endfor %}</ol></section>
{% endfor %}</body></html>
"""


class Pictures:
    """Small pictures of images, each made when it is asked for.

    Args:
      images: that were looked for.
      reference: those of the table; None: they have no pictures.
    """

    def __init__(self, images: ImageFolder, reference: ImageFolder | None):
        self._images = images
        self._number = {image_id: number for number, image_id in enumerate(images.ids)}
        self._reference = reference
        ids = reference.ids if reference else []
        self._reference_number = {image_id: number for number, image_id in enumerate(ids)}

    def of(self, image_id: str) -> str:
        """A data URI of an image that was looked for."""
        return _uri(self._images, self._number[image_id])

    def of_reference(self, image_id: str) -> str:
        """A data URI of an image of the table; empty where there is none."""
        number = self._reference_number.get(image_id)
        if self._reference is None or number is None:
            return ""
        return _uri(self._reference, number)


def render(found: Sequence, reference: Reference, pictures: Pictures, table: str) -> str:
    """The page.

    Args:
      found: `similar.Neighbours` of each image.
      reference: that they were found in.
      pictures: of the images.
      table: name of the reference, for people.
    """
    shown = []
    for one in found[:_MOST_SHOWN]:
        near = []
        for row, cosine in zip(one.nearest, one.cosines, strict=True):
            near.append(
                {
                    "id": reference.ids[row],
                    "uri": pictures.of_reference(reference.ids[row]),
                    "cosine": f"{cosine:.3f}",
                    "labels": reference.label_names[row],
                }
            )
        shown.append({"id": one.id, "uri": pictures.of(one.id), "near": near})
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(
        generator=Markup(GENERATOR),
        side=_SIDE,
        count=len(found),
        shown=len(shown),
        table=table,
        images=shown,
    )


def _uri(images: ImageFolder, number: int) -> str:
    try:
        pixels, _ = images.read(number)
    except FaultyImage:
        return ""
    small = stretch_contrast(fit_square(pixels, _SIDE, "pad"))
    picture = np.ascontiguousarray(false_color(small)[..., ::-1])
    _, encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"
