"""What image files say of themselves, put together over all images of a source.

Pixel size, white, channels and depth are compared with what the user says of them: what was not
said is asked about where a wrong guess would lose something, and else reported.
"""

import math
from collections import Counter

from hpa_jax.errors import InputError
from tfds_builder.hpa.files.image_files import Headers

# Sizes that differ by less are the same, rounded by different programs.
_TOLERANCE = 0.01
_DEEPEST = 65535


class Said:
    """What the headers of all images say."""

    def __init__(self):
        self._sizes: list[float | None] = []
        self._whites: Counter[int] = Counter()
        self._missing: Counter[str] = Counter()
        self._odd_names: Counter[str] = Counter()
        self._bits: Counter[int] = Counter()

    def add(self, headers: Headers) -> None:
        """Takes another image in."""
        self._sizes.append(headers.description.pixel_size)
        self._whites.update(headers.whites)
        self._missing.update(headers.missing)
        if headers.odd_name:
            self._odd_names[headers.odd_name] += 1
        self._bits[headers.description.bits] += 1

    def pixel_size(self) -> float | None:
        """Micrometres a pixel of all images; None where one does not say, or says another."""
        if not self._sizes or None in self._sizes:
            return None
        first = self._sizes[0]
        if all(math.isclose(size, first, rel_tol=_TOLERANCE) for size in self._sizes):
            return round(first, 6)
        return None

    def check_white(self, white: int | None, where: str) -> None:
        """Asks for white, where files say that it is not the largest value of their depth.

        Raises:
          InputError: they do, and `white` is None.
        """
        if white is not None or not self._whites:
            return
        values = sorted(self._whites)
        said = " and ".join(map(str, values))
        images = counted(max(self._whites.values()), len(self._sizes))
        if len(values) > 1:
            raise InputError(
                f"{where}: files say that {said} are white, of several cameras; build them apart, "
                "each with its --white"
            )
        raise InputError(
            f"{where}: files of {images} say that {said} is white, where 16 bits hold {_DEEPEST}; "
            f"give --white={said}, or another"
        )

    def notes(self, white: int | None, pixel_size: float | None) -> list[str]:
        """What the user should know, a line each.

        Args:
          white: as the user says.
          pixel_size: as the user says.
        """
        notes = []
        for value in self._whites:
            if white != value:
                notes.append(f"files say that {value} is white; --white={white} is taken.")
        notes += self._size_notes(pixel_size)
        for channel, count in self._missing.items():
            images = counted(count, len(self._sizes))
            notes.append(f"the files of {images} hold no {channel}, which is black in them.")
        for words, count in self._odd_names.most_common(3):
            images = counted(count, len(self._sizes))
            notes.append(f"the files of {images} say of {words}.")
        if len(self._bits) > 1:
            depths = ", ".join(f"{bits} bits in {n}" for bits, n in sorted(self._bits.items()))
            notes.append(f"images differ in depth ({depths}); each depth has a white of its own.")
        return notes

    def _size_notes(self, given: float | None) -> list[str]:
        sizes = [size for size in self._sizes if size is not None]
        if not sizes:
            return []
        smallest = min(sizes)
        largest = max(sizes)
        images = counted(len(sizes), len(self._sizes))
        says = f"the files of {images} say {smallest:.4g} um a pixel"
        if not math.isclose(smallest, largest, rel_tol=_TOLERANCE):
            says = f"the files of {images} say {smallest:.4g} to {largest:.4g} um a pixel"
        if given is None:
            return [f"{says}."]
        if math.isclose(smallest, given, rel_tol=_TOLERANCE) and smallest == largest:
            return []
        return [f"{says}; --pixel_size={given:g} is taken."]


def counted(some: int, total: int) -> str:
    """Some images of all, in words."""
    return f"all {total} images" if some == total else f"{some} images of {total}"
