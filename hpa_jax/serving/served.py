"""A loaded export, whichever runtime runs it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpa_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 1e-5
"""Largest absolute difference of probabilities between the exporting and the checking machine."""

RELATIVE_TOLERANCE = 1e-4
"""The same of other outputs, as a fraction of their largest golden value."""

PROBABILITIES = "probabilities"

# Up to this size a CPU gains by several images at once: 1.6 times at 64 px, 1.15 at 128 px. At
# 192 px it gains nothing, and above it loses (docs/results.md).
_SMALL = 128
_SMALL_BATCH = 8


@dataclass(frozen=True)
class Served:
    """A loaded export. Several threads may run it at once.

    Attributes:
      folder: where the export lies.
      description: the contents of model.json.
      backend: "jax" or "onnx".
      outputs: names of what `run` can compute:
        probabilities   float32 `[B, L]`
        embedding       float32 `[B, F]`, the mean of the last feature map over its positions, or
                        what a net has learnt that has no labels: it has no other output
        attention       float32 `[B, L]`, of nets of single cells alone: the softmax over the cells
                        of a field weighs their logits
        maps            float32 `[B, h, w, L]`, class-activation maps, 0 or more, in units of the
                        logit; by onnx only for heads where they take no gradient
      call: images and names of outputs to arrays by name; `run` checks what it is given.
      golden: arrays of the golden input and its outputs, by name, read when they are asked for.
    """

    folder: Path
    description: dict
    backend: str
    outputs: tuple[str, ...]
    call: Callable[["np.ndarray", Sequence[str]], dict]
    golden: Callable[[], dict]

    def run(
        self, images: "np.ndarray", outputs: Sequence[str] = (PROBABILITIES,)
    ) -> "dict[str, np.ndarray]":
        """What the net makes of images.

        Args:
          images: uint8 `[B, H, W, 4]` of the exported size: red, green, blue, yellow. Any B.
          outputs: names of `self.outputs`.

        Returns:
          An array for each of these names.

        Raises:
          InputError: another dtype or shape, or an output that this export does not have.
        """
        import numpy as np

        expected = self.description["input"]["shape"]
        if images.dtype != np.uint8 or list(images.shape[1:]) != expected[1:]:
            raise InputError(
                f"images of {images.dtype} {images.shape}; the net takes uint8 {expected}"
            )
        for name in outputs:
            if name not in self.outputs:
                raise InputError(
                    f"{self.folder} has no output {name!r} by {self.backend}; it has "
                    f"{', '.join(self.outputs)}"
                )
        return self.call(images, tuple(outputs))

    def probabilities(self, images: "np.ndarray") -> "np.ndarray":
        """The probability of each label.

        Args:
          images: as of `run`.

        Returns:
          float32 `[B, L]`, labels in the order of `description["labels"]`.

        Raises:
          InputError: as of `run`.
        """
        return self.run(images)[PROBABILITIES]

    def check_golden(self) -> float:
        """Runs the golden input; returns the largest difference of a probability.

        Of a net that tells no labels, of any output, as a fraction of its largest value.

        Raises:
          InputError: that difference is above TOLERANCE, or another output's above
            RELATIVE_TOLERANCE, or one is not a number. A model.onnx with weights of fewer bits has
            tolerances of its own, in model.json.
        """
        golden = self.golden()
        # An export of version 0.2 or before has no other output than the probabilities.
        names = [name for name in self.outputs if name in golden]
        found = self.run(golden["images"], names)
        largest = 0.0
        for name in names:
            difference = largest_difference(name, found[name], golden[name])
            if name == PROBABILITIES or PROBABILITIES not in names:
                largest = max(largest, difference)
            tolerance = self.tolerance(name)
            # Written so that a NaN is refused as well.
            if not difference <= tolerance:
                raise InputError(
                    f"{self.folder}: by {self.backend}, {name} differ from the golden output by "
                    f"{difference:.1e}, more than {tolerance}; do not serve it"
                )
        return largest

    def tolerance(self, output: str) -> float:
        """The largest difference of an output that is no fault (`largest_difference`)."""
        if self.backend == "onnx":
            tolerances = self.description.get("onnx", {}).get("tolerances", {})
            if output in tolerances:
                return tolerances[output]
        if output == PROBABILITIES:
            return TOLERANCE
        return self.description.get("tolerances", {}).get(output, RELATIVE_TOLERANCE)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of outputs: the probabilities first, whatever their place in the alphabet."""
    return tuple(sorted(names, key=lambda name: (name != PROBABILITIES, name)))


def largest_difference(output: str, found: "np.ndarray", expected: "np.ndarray") -> float:
    """How far an output is off: absolute of probabilities, else in the largest expected value."""
    import numpy as np

    difference = float(np.abs(found - expected).max())
    if output == PROBABILITIES:
        return difference
    # An output that is 0 everywhere has no scale.
    return difference / (float(np.abs(expected).max()) or 1.0)


def default_batch(size: int) -> int:
    """How many images to run at once on a CPU, by the side of the net's images in px."""
    return _SMALL_BATCH if size <= _SMALL else 1
