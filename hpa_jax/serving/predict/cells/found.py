"""What was found in an image: where its cells lie, and what the net says of each."""

import io
from dataclasses import dataclass
from typing import get_type_hints

import numpy as np

from hpa_jax.segmentation.cell import Cell

_TYPES = get_type_hints(Cell)


@dataclass(frozen=True)
class FieldCells:
    """The cells of an image.

    Attributes:
      shape: height and width of the image in px.
      cells: N of them, those that were scored.
      left_out: how many were not, since they touch the border.
      probabilities: float32 [N, L].
      embeddings: float32 [N, E]; None: not wanted.
      attention: float32 [N, L], whose softmax over the cells weighs their logits; None: the net has
        not learnt it.
      outlines: of each cell, int32 [M, 2]: x and y in px of the corners of its largest part.
    """

    shape: tuple[int, int]
    cells: list[Cell]
    left_out: int
    probabilities: np.ndarray
    embeddings: np.ndarray | None
    attention: np.ndarray | None
    outlines: list[np.ndarray]

    def to_bytes(self) -> bytes:
        """All of it; `from_bytes` gives it back."""
        arrays = {
            "facts": np.array([*self.shape, self.left_out], np.int64),
            # Whole numbers below 2^53 are exact.
            "cells": np.array(self.cells, np.float64).reshape(-1, len(Cell._fields)),
            "probabilities": self.probabilities.astype(np.float32),
            "lengths": np.array([len(outline) for outline in self.outlines], np.int64),
            "corners": np.concatenate([np.zeros((0, 2), np.int32), *self.outlines]),
        }
        if self.embeddings is not None:
            arrays["embeddings"] = self.embeddings.astype(np.float32)
        if self.attention is not None:
            arrays["attention"] = self.attention.astype(np.float32)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FieldCells":
        """What `to_bytes` made these bytes of."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            height, width, left_out = arrays["facts"].tolist()
            cells = []
            for values in arrays["cells"].tolist():
                typed = zip(Cell._fields, values, strict=True)
                cells.append(Cell(**{name: _TYPES[name](value) for name, value in typed}))
            ends = np.cumsum(arrays["lengths"])
            # The last piece is what follows the last outline: nothing.
            outlines = np.split(arrays["corners"], ends)[:-1]
            return cls(
                shape=(height, width),
                cells=cells,
                left_out=left_out,
                probabilities=arrays["probabilities"],
                embeddings=arrays.get("embeddings"),
                attention=arrays.get("attention"),
                outlines=outlines,
            )
