"""What is unlike the images that a net learned from: a line a kind, and a note a row."""

from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.predict.rows import Row

# An image whose mean is below a quarter of the training images', or above four times that.
_FACTOR = 4

_DARK = "dark"
_BRIGHT = "bright"


class Notes:
    """Compares images with those of the training set.

    Args:
      preparation: of the net; where it says nothing of intensities, there are no notes.
    """

    def __init__(self, preparation: Preparation):
        self._preparation = preparation
        self._intensities = preparation.intensities or {}
        self._count = 0
        self._counts: dict[tuple[str, str], int] = {}
        self._pixel_sizes: dict[str, int] = {}

    def of(self, row: Row) -> str:
        """The note of an image: `green is dark`, or nothing."""
        parts = [f"{channel} is {kind}" for channel, kind in self._unusual(row)]
        if self._preparation.pixel_size_warning(row.pixel_size):
            parts.append("another pixel size")
        return ", ".join(parts)

    def see(self, row: Row) -> None:
        """Counts an image for `warnings`."""
        self._count += 1
        for unusual in self._unusual(row):
            self._counts[unusual] = self._counts.get(unusual, 0) + 1
        text = self._preparation.pixel_size_warning(row.pixel_size)
        if text:
            self._pixel_sizes[text] = self._pixel_sizes.get(text, 0) + 1

    def warnings(self) -> list[str]:
        """One line for each kind of difference."""
        lines = []
        for (channel, kind), count in sorted(self._counts.items()):
            mean = self._intensities[channel]["mean"]
            word = "darker" if kind == _DARK else "brighter"
            lines.append(
                f"{count} of {self._count} images are more than {_FACTOR} times {word} in "
                f"{channel} than those that the net learned from (mean {mean:.3f} of white); see "
                "--white, and the column note"
            )
        for text, count in sorted(self._pixel_sizes.items()):
            lines.append(f"in {count} of {self._count} images {text}")
        return lines

    def _unusual(self, row: Row) -> list[tuple[str, str]]:
        found = []
        for channel, mean in zip(CHANNELS, row.means, strict=True):
            known = self._intensities.get(channel)
            if not known or channel not in self._preparation.channels:
                continue
            if mean < known["mean"] / _FACTOR:
                found.append((channel, _DARK))
            elif mean > known["mean"] * _FACTOR:
                found.append((channel, _BRIGHT))
        return found
