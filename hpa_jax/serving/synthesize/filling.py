"""What fills in channels: a run's checkpoint or an export; and how an image goes through it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.square import Square
from hpa_jax.labels import CHANNELS


class Filler(Protocol):
    """A net that fills in channels.

    Attributes:
      name: for messages.
      targets: names of the channels that it can make, T.
      sources: names of those that it may be shown.
      size: side in px of the images that it takes.
    """

    name: str
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    size: int

    def fill(self, images: np.ndarray, shown: Sequence[str]) -> np.ndarray:
        """Makes all targets.

        Args:
          images: uint8 [N, S, S, 4].
          shown: names of the sources that the net is to see.

        Returns:
          uint8 [N, S, S, T].
        """


def shown_sources(
    filler: Filler, wanted: Sequence[str], missing: Sequence[str] = ()
) -> tuple[str, ...]:
    """The channels that the wanted ones are made from: all sources that are there.

    Args:
      filler: the net.
      wanted: names of the channels to make.
      missing: names of others that were not imaged.

    Raises:
      InputError: the net does not make one of them, or nothing is left to make them from.
    """
    unknown = [name for name in wanted if name not in filler.targets]
    if unknown:
        raise InputError(
            f"{filler.name} has not learnt to make {', '.join(unknown)}; it makes "
            f"{', '.join(filler.targets)} from {', '.join(filler.sources)}"
        )
    shown = []
    for name in filler.sources:
        if name not in wanted and name not in missing:
            shown.append(name)
    if not any(name != "green" for name in shown):
        raise InputError(
            f"{filler.name} has nothing to make {', '.join(wanted)} from: it takes "
            f"{', '.join(filler.sources)}, of which one besides green has to be there"
        )
    return tuple(shown)


def filled_planes(
    filler: Filler,
    squares: np.ndarray,
    shapes: Sequence[Square],
    wanted: Sequence[str],
    shown: Sequence[str],
) -> list[np.ndarray]:
    """The wanted channels of a batch of images, in the images' own pixels.

    Args:
      filler: the net.
      squares: uint8 [N, S, S, 4], as the net takes the images.
      shapes: of these images, N.
      wanted: names of the channels to make.
      shown: of `shown_sources`.

    Returns:
      uint8 [H, W, len(wanted)] for each image.
    """
    made = filler.fill(squares, shown)
    places = [filler.targets.index(name) for name in wanted]
    return [
        shape.undo(np.ascontiguousarray(square[..., places]))
        for shape, square in zip(shapes, made, strict=True)
    ]


def with_filled(
    filler: Filler,
    preparation: Preparation,
    pixels: np.ndarray,
    pixel_size: float | None,
    wanted: Sequence[str],
    shown: Sequence[str],
) -> np.ndarray:
    """An image with the wanted channels made from the others.

    Args:
      filler: the net.
      preparation: of its images.
      pixels: uint8 [H, W, 4].
      pixel_size: micrometres a pixel; needed if the net's training images were rescaled.
      wanted, shown: as of `filled_planes`.

    Returns:
      uint8 [H, W, 4], another array.

    Raises:
      Refused: as of `Preparation.prepare`.
    """
    square = preparation.prepare(pixels, pixel_size)
    shape = Square(*pixels.shape[:2], preparation.size, preparation.aspect)
    (planes,) = filled_planes(filler, square[None], [shape], wanted, shown)
    filled = pixels.copy()
    for place, name in enumerate(wanted):
        filled[..., CHANNELS.index(name)] = planes[..., place]
    return filled
