"""The work that both sides of `train_step.py` do, and the data that they do it on."""

from typing import Protocol

import numpy as np

SIDES = ("jax", "torch")
KINDS = ("train", "inference", "exported")
CHANNELS = 4
LABELS = 28
LEARNING_RATE = 1e-4
# Of the images divided by 255, in every channel.
MEAN = 0.1
STD = 0.2
GPU_MEMORY_FRACTION = 0.45
"""For each side: both stay on the GPU, so that their rounds can take turns."""


class Side(Protocol):
    """One of the two libraries."""

    def device(self) -> dict:
        """`gpu` (whether it has one), `name` and `version`."""

    def prepare(
        self, net: str, side: int, batch: int, dtype: str, kinds: list[str], block: str
    ) -> dict:
        """Builds, compiles and warms up.

        Args:
          net: one of hpa_jax.models.BACKBONES.
          side: of the images in px.
          batch: images a step.
          dtype: of the arithmetic, but for `exported`.
          kinds: of steps, of KINDS.
          block: config.model.block of the training step of hpa_jax.

        Returns:
          The `seconds` that it took, and the number of `parameters`.
        """

    def run(self, kind: str, times: int) -> None:
        """So many steps of a kind; returns when the last one is finished."""


def random_batch(side: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[batch, side, side, CHANNELS]` and targets uint8 `[batch, LABELS]`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, CHANNELS), np.uint8)
    targets = (rng.random((batch, LABELS)) < 0.1).astype(np.uint8)
    return images, targets
