"""What is unlike the images that a net learned from: a line a kind, and a note a row.

Design: the mean of a channel tells. In the Atlas, single images reach from a twelfth of the
training set's mean (a protein that is hardly there) to four times that; the mean of a folder stays
near it. Files whose white is sixteen times too large, or three times too small, lie outside.
"""

from collections.abc import Sequence

import numpy as np

from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.predict.rows import Row

DARK = "dark"
BRIGHT = "bright"

# Of a single image's mean to that of the training set.
_DARK_IMAGE = 1 / 12
_BRIGHT_IMAGE = 4
# Of the mean over a folder.
_DARK_FOLDER = 1 / 4
_BRIGHT_FOLDER = 3
# So many single images make a line of their own.
_FRACTION = 0.1


class Notes:
    """Compares images with those of the training set.

    Args:
      preparation: of the net; where it says nothing of intensities, there are no notes.
      missing: channels that are black for want of files, which is told otherwise.
    """

    def __init__(self, preparation: Preparation, missing: Sequence[str] = ()):
        self._preparation = preparation
        self._known: dict[str, float] = {}
        for channel, of_channel in (preparation.intensities or {}).items():
            is_there = channel in preparation.channels and channel not in missing
            if is_there and of_channel["mean"] > 0:
                self._known[channel] = of_channel["mean"]
        self._count = 0
        self._sums = np.zeros(len(CHANNELS))
        self._unusual_counts: dict[tuple[str, str], int] = {}
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
        self._sums += row.means
        for unusual in self._unusual(row):
            self._unusual_counts[unusual] = self._unusual_counts.get(unusual, 0) + 1
        text = self._preparation.pixel_size_warning(row.pixel_size)
        if text:
            self._pixel_sizes[text] = self._pixel_sizes.get(text, 0) + 1

    def warnings(self) -> list[str]:
        """One line for each kind of difference."""
        lines = []
        for channel, mean in self._known.items():
            line = self._folder_warning(channel, mean)
            if line:
                lines.append(line)
        for text, count in sorted(self._pixel_sizes.items()):
            lines.append(f"in {count} of {self._count} images {text}")
        return lines

    def _folder_warning(self, channel: str, mean: float) -> str:
        found = self._sums[CHANNELS.index(channel)] / self._count
        ratio = found / mean
        if ratio < _DARK_FOLDER or ratio > _BRIGHT_FOLDER:
            word = "darker" if ratio < 1 else "brighter"
            return (
                f"{channel} is {word} than all that the net learned from: its mean is {found:.2g} "
                f"of white, and was {mean:.2g} there; see --white"
            )
        for kind in (DARK, BRIGHT):
            count = self._unusual_counts.get((channel, kind), 0)
            if count > _FRACTION * self._count:
                return (
                    f"in {count} of {self._count} images {channel} is {kind}, as in hardly any "
                    "that the net learned from; the column note says in which"
                )
        return ""

    def _unusual(self, row: Row) -> list[tuple[str, str]]:
        found = []
        for channel, mean in self._known.items():
            ratio = row.means[CHANNELS.index(channel)] / mean
            if ratio < _DARK_IMAGE:
                found.append((channel, DARK))
            elif ratio > _BRIGHT_IMAGE:
                found.append((channel, BRIGHT))
        return found
