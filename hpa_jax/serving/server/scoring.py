"""From the files of a request to the rows of its answer.

Files are found, read and prepared by what `python -m hpa_jax.serving predict` uses, so that the
scores are the same.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images import formats
from hpa_jax.images.folder import FaultyImage, ImageFolder
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.rule import any_image
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.decision import (
    decide,
    is_single_label,
    label_ids,
    label_names,
    thresholds_of,
)
from hpa_jax.serving.predict.intake import with_white
from hpa_jax.serving.predict.notes import Notes
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.server.batching import Batcher, Net
from hpa_jax.serving.server.body import Part
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.options import Options, as_options
from hpa_jax.serving.server.readers import Readers
from hpa_jax.serving.server.refusal import Refusal
from hpa_jax.serving.server.uploads import find_uploaded

# Images of one request that are read ahead: what they take is bounded, however many it has.
_AHEAD = 8
_DIGITS = 7


@dataclass(frozen=True)
class _Prepared:
    """An image that is ready for the net.

    Attributes:
      pixels: uint8 [S, S, 4].
      pixel_size: micrometres a pixel of its files, or None.
    """

    pixels: np.ndarray
    pixel_size: float | None


class Scorer:
    """Answers requests for scores.

    Args:
      net: that scores.
      batcher: which runs it.
      readers: threads that read images.
      limits: of the server.
    """

    def __init__(self, net: Net, batcher: Batcher, readers: int, limits: Limits):
        self._description = net.description
        self._preparation = Preparation.from_description(net.description)
        self._batcher = batcher
        self._readers = Readers(readers)
        self._limits = limits

    def close(self) -> None:
        """Ends the threads."""
        self._readers.close()

    async def score(self, parts: Sequence[Part], options: Options) -> list[dict]:
        """Scores the images of a request.

        Args:
          parts: its files.
          options: what it says of them.

        Returns:
          one row an image, as JSON has it.

        Raises:
          Refusal: the files are none that can be scored.
        """
        images = await self._readers.run(self._found, parts, options)
        if len(images) > self._limits.images:
            raise Refusal(
                413,
                f"{len(images)} images in one request, more than {self._limits.images}; send "
                "fewer at once",
            )
        rows = []
        for start in range(0, len(images), _AHEAD):
            numbers = range(start, min(start + _AHEAD, len(images)))
            tasks = [self._row(images, number, options) for number in numbers]
            rows += await _all(tasks)
        return rows

    def _found(self, parts: Sequence[Part], options: Options) -> ImageFolder:
        """Which files make which images, and what is white in them."""
        missing = []
        for channel in CHANNELS:
            if channel in options.missing or channel not in self._preparation.channels:
                missing.append(channel)
        rule = any_image(options.white, options.projection, options.float_range)
        try:
            images = find_uploaded(parts, tuple(missing), rule, options, self._limits)
            # A single image of eight bits, the most common, is not decoded twice for this.
            if options.white is None and len(images) <= self._limits.images:
                if len(images) > 1 or self._preparation.white_of(8) or _is_deep(images):
                    return with_white(images, self._preparation)
        except InputError as error:
            raise Refusal(422, as_options(str(error))) from None
        return images

    async def _row(self, images: ImageFolder, number: int, options: Options) -> dict:
        image_id = images.ids[number]
        try:
            prepared = await self._readers.run(self._prepared, images, number, options)
        except FaultyImage as fault:
            text = as_options(str(fault) if fault.id else f"{fault.file} {fault.reason}")
            if options.policy == "skip":
                return {"id": image_id, "error": text}
            raise Refusal(422, text) from None
        wanted = ("probabilities", *(o for o in options.outputs if o != "probabilities"))
        found = await self._batcher.score(prepared.pixels, wanted)
        return self._as_json(image_id, options.missing, prepared, found)

    def _prepared(self, images: ImageFolder, number: int, options: Options) -> _Prepared:
        pixels, facts = images.read(number)
        pixel_size = options.pixel_size or facts.pixel_size
        try:
            return _Prepared(self._preparation.prepare(pixels, pixel_size), pixel_size)
        except Refused as refused:
            raise FaultyImage(images.ids[number], facts.files[0], str(refused)) from None

    def _as_json(
        self, image_id: str, missing: Sequence[str], prepared: _Prepared, found: dict
    ) -> dict:
        description = self._description
        probabilities = found["probabilities"]
        thresholds = [None] * len(probabilities)
        if not is_single_label(description):
            thresholds = [_rounded(threshold) for threshold in thresholds_of(description)]
        columns = zip(
            label_ids(description),
            label_names(description),
            probabilities,
            thresholds,
            decide(description, probabilities[None])[0],
            strict=True,
        )
        labels = []
        for number, name, probability, threshold, is_decided in columns:
            labels.append(
                {
                    "id": number,
                    "name": name,
                    "probability": _rounded(probability),
                    "threshold": threshold,
                    "predicted": bool(is_decided),
                }
            )
        means = prepared.pixels.mean(axis=(0, 1)) / 255
        row = Row(
            image_id,
            stamp="",
            probabilities=probabilities,
            pixel_size=prepared.pixel_size,
            means=tuple(means.tolist()),
        )
        answer = {
            "id": image_id,
            "labels": labels,
            "missing": list(missing),
            "note": Notes(self._preparation).of(row),
        }
        for name, array in found.items():
            if name != "probabilities":
                answer[name] = np.round(array.astype(np.float64), _DIGITS).tolist()
        return answer


async def _all(tasks: list) -> list:
    """The results of coroutines that run at once; the first error ends them all."""
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(task) for task in tasks]
    return [task.result() for task in started]


def _rounded(value: np.floating) -> float:
    return round(float(value), _DIGITS)


def _is_deep(images: ImageFolder) -> bool:
    """Whether the first image has a file of more than eight bits."""
    for name in filter(None, images.files[0]):
        try:
            header = formats.scan(images.images, name, images.rule)
        except Refused:
            # It is reported when its turn comes.
            continue
        if header.description.bits > 8:
            return True
    return False
