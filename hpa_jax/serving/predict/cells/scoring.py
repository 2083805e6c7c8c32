"""Reads images, finds their cells, cuts them out, and scores the images and each cell.

A batch of crops is of several images, of those that are read together. Crops are made when their
batch's turn comes: all of an image at once may take more memory than the image.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpa_jax.images.folder import FaultyImage
from hpa_jax.images.store import Refused
from hpa_jax.segmentation.cell import Cell
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.crops import CropRule, crop
from hpa_jax.serving.predict.cells.find import CellFinder, outline_of
from hpa_jax.serving.predict.cells.found import FieldCells
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.scoring import (
    Job,
    channel_means,
    check_finite,
    digest_of,
    read_or_refused,
)

FIELDS_A_GROUP = 4
"""So many images are read and scored together, with all their cells."""


class PreparedField(NamedTuple):
    """An image that is ready to be scored with its cells.

    Attributes:
      field: uint8 [H, W, 4], as its files have it.
      prepared: uint8 [S, S, 4], as the net takes it.
      pixel_size: micrometres a pixel of its files, or None.
      mask: int32 [H, W], its cells.
      cells: those that are scored, by their numbers in `mask`.
      numbers: of all cells for people, int [N].
      left_out: how many are not.
    """

    field: np.ndarray
    prepared: np.ndarray
    pixel_size: float | None
    mask: np.ndarray
    cells: list[Cell]
    numbers: np.ndarray
    left_out: int


@dataclass(frozen=True, kw_only=True)
class CellJob(Job):
    """What is to be scored cell by cell, and how; `batch` is FIELDS_A_GROUP here.

    Attributes:
      finder: knows the cells of an image.
      rule: how they are cut out.
      skip_border: cells that touch the border of their image are not scored.
      crops_a_batch: crops a batch.
    """

    finder: CellFinder
    rule: CropRule
    skip_border: bool
    crops_a_batch: int

    def prepare(self, number: int) -> PreparedField:
        """Reads an image and finds its cells; see `Job.prepare`."""
        field, facts = self.images.read(number)
        image_id = self.images.ids[number]
        pixel_size = self.pixel_size or facts.pixel_size
        try:
            prepared = self.preparation.prepare(field, pixel_size)
        except Refused as refused:
            file = self.images.images.where(facts.files[0])
            raise FaultyImage(image_id, file, str(refused)) from None
        instances, numbers = self.finder.find(image_id, field)
        cells = measure_cells(instances)
        kept = cells
        if self.skip_border:
            kept = [cell for cell in cells if not cell.touches_border]
        return PreparedField(
            field=field,
            prepared=prepared,
            pixel_size=pixel_size,
            mask=instances.cells,
            cells=kept,
            numbers=numbers,
            left_out=len(cells) - len(kept),
        )

    def stamp(self, number: int) -> str:
        """See `Job.stamp`; it changes with the mask too."""
        mask = self.finder.stamp(self.images.ids[number])
        return digest_of((self.images.stamp(number), mask))

    def rows(self, numbers: range, stamps: list[str], futures: list[Future]) -> list[Row]:
        """See `Job.rows`; each row has its cells."""
        rows, good = read_or_refused(self, numbers, stamps, futures)
        of_fields = self._scores_of_fields(good)
        of_cells = self._scores_of_cells(good)
        at = 0
        for place, (number, stamp) in enumerate(zip(numbers, stamps, strict=True)):
            if rows[place] is not None:
                continue
            one = good[at]
            row = Row(
                id=self.images.ids[number],
                stamp=stamp,
                probabilities=of_fields[at],
                pixel_size=one.pixel_size,
                means=channel_means(one.prepared),
                cells=of_cells[at],
            )
            if self.overlays is not None:
                self.overlays.write(row.id, one.field, row.cells)
            rows[place] = row
            at += 1
        return rows

    def _scores_of_fields(self, fields: list[PreparedField]) -> np.ndarray:
        """float32 [F, L]."""
        batches = []
        for start in range(0, len(fields), self.crops_a_batch):
            some = fields[start : start + self.crops_a_batch]
            images = np.stack([one.prepared for one in some])
            batches.append(self._run(images, ("probabilities",))["probabilities"])
        return np.concatenate(batches) if batches else np.zeros((0, 0), np.float32)

    def _scores_of_cells(self, fields: list[PreparedField]) -> list[FieldCells]:
        """What is found in each image."""
        collected = {name: [] for name in self.outputs}
        for images in self._crops(fields):
            for name, values in self._run(images, self.outputs).items():
                collected[name].append(values)
        # Of a group without a cell it is not known how long an embedding would be.
        joined = {name: np.concatenate(some) for name, some in collected.items() if some}
        found = []
        start = 0
        for one in fields:
            end = start + len(one.cells)
            empty = np.zeros((0, 0), np.float32)
            more = {}
            for name in ("embedding", "attention"):
                more[name] = None
                if name in self.outputs:
                    more[name] = joined.get(name, empty)[start:end]
            numbered = []
            for cell in one.cells:
                numbered.append(cell._replace(cell=int(one.numbers[cell.cell - 1])))
            cells = FieldCells(
                shape=one.mask.shape,
                cells=numbered,
                left_out=one.left_out,
                probabilities=joined.get("probabilities", empty)[start:end],
                embeddings=more["embedding"],
                attention=more["attention"],
                outlines=[outline_of(one.mask, cell) for cell in one.cells],
            )
            found.append(cells)
            start = end
        return found

    def _crops(self, fields: list[PreparedField]) -> Iterator[np.ndarray]:
        """uint8 [B, S, S, 4]: the cells of all images, one after the other, in batches."""
        pairs = [(one, cell) for one in fields for cell in one.cells]

        def cut_out(pair: tuple[PreparedField, Cell]) -> np.ndarray:
            one, cell = pair
            return crop(one.field, one.mask, cell, self.rule)

        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(pairs), self.crops_a_batch):
                yield np.stack(list(pool.map(cut_out, pairs[start : start + self.crops_a_batch])))

    def _run(self, images: np.ndarray, outputs: tuple[str, ...]) -> dict:
        found = self.net.run(images, outputs, self.crops_a_batch)
        check_finite("probabilities", found["probabilities"], self)
        return found
