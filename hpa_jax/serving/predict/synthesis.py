"""Missing channels made by another net, before the net that scores sees the image.

Nothing of this happens unless it is asked for (`--synthesize=EXPORT`): what a net makes is no
measurement.
"""

import sys
from collections.abc import Sequence

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.synthesize.filling import Filler, shown_sources, with_filled


class Synthesis:
    """Makes channels of an image from the others. Safe to share between threads.

    Attributes:
      wanted: names of the channels that it makes.
      shown: names of those that it makes them from.
      version: changes with the net and with what it makes.

    Args:
      filler: the net.
      filler_preparation: of that net's images.
      seen: names of the channels that the net which scores sees; all others become black.
      wanted: names of the channels to make.
      missing: names of all channels that have no files.
      version: of the net.

    Raises:
      InputError: the net cannot make them from what is there.
    """

    def __init__(
        self,
        filler: Filler,
        filler_preparation: Preparation,
        *,
        seen: Sequence[str],
        wanted: Sequence[str],
        missing: Sequence[str],
        version: str,
    ):
        self._filler = filler
        self._preparation = filler_preparation
        self._unseen = [place for place, name in enumerate(CHANNELS) if name not in seen]
        self.wanted = tuple(wanted)
        self.shown = shown_sources(filler, wanted, missing)
        self.version = [version, list(self.wanted), list(self.shown)]

    def __call__(self, pixels: np.ndarray, pixel_size: float | None) -> np.ndarray:
        """The image uint8 [H, W, 4] with its channels made, another array.

        Raises:
          Refused: as of `Preparation.prepare`.
        """
        filled = with_filled(
            self._filler, self._preparation, pixels, pixel_size, self.wanted, self.shown
        )
        filled[..., self._unseen] = 0
        return filled


def open_synthesis(request: Request, preparation: Preparation) -> Synthesis | None:
    """What a request says of channels to be made; None: nothing.

    Args:
      request: what is asked for.
      preparation: of the net that scores.

    Raises:
      InputError: nothing is missing, or the export is none that makes it.
    """
    if request.synthesize is None:
        return None
    # JAX or onnxruntime are loaded here alone.
    from hpa_jax.serving.synthesize.exported import ExportedFiller

    wanted = [name for name in request.missing if name in preparation.channels]
    if not wanted:
        raise InputError(
            f"--synthesize={request.synthesize}: no channel that the net sees "
            f"({', '.join(preparation.channels)}) is missing; say which has no files: "
            "--missing=yellow"
        )
    filler = ExportedFiller(request.synthesize)
    synthesis = Synthesis(
        filler,
        filler.preparation,
        seen=preparation.channels,
        wanted=wanted,
        missing=request.missing,
        version=filler.version,
    )
    print(
        f"warning: {', '.join(wanted)} is not measured: it is made from "
        f"{', '.join(synthesis.shown)} by {filler.name}, and every row says so",
        file=sys.stderr,
    )
    return synthesis
