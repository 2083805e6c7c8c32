"""How fields may differ from one another: cell size, density, shape, touching, optics, brightness.

A net that is to find cells in real fields must not rely on what all drawn fields have in common.
`PLAIN` is how fields are drawn unless variation is asked for; a random `Variation` is drawn for
each field from a stream of its own. Lengths are fractions of one cell diameter.
"""

from dataclasses import dataclass

import numpy as np

_PLAIN_FRACTION = 0.25  # of varied fields: what a net learns has to include these
_LARGEST_CELL = 0.6  # a cell's diameter, as a fraction of the field's side


@dataclass(frozen=True)
class Variation:
    """What a field has of its own; the defaults are those of a plain field.

    Attributes:
      size: factor on the diameter of cells.
      half_axis: of a cell between divisions, before it is stretched.
      stretch: largest factor by which such a cell is longer than wide, to the power of 1/2.
      spacing: added distance between cells; below 0 they overlap more, so that more touch.
      filled: fraction of the field in which cells may lie; the rest is empty, in patches.
      bend: factor on what bends outlines.
      nucleus: factor on the radius of nuclei.
      nucleus_stretch: as `stretch`, of nuclei.
      aligned: whether nuclei point the way of their cells.
      joined: whether a cell is one piece. Parts that a neighbour cuts off are left out.
      dimmest: brightness of the dimmest cell, as a fraction of the brightest possible.
      fading: how much of the brightness of red and yellow is lost at a cell's edge, 0 to 1.
      red_in_nucleus: how much of red is left inside nuclei, 0 to 1.
      gamma: exponent of the light; above 1 what is dim becomes dimmer.
      gain: lowest and highest gain of a channel.
      background: highest background of a channel, as a fraction of white.
      blur: factor on the width of the optics' blur.
      noise: factor on the camera's noise.
    """

    size: float = 1.0
    half_axis: float = 0.6
    stretch: float = 1.25
    spacing: float = 0.0
    filled: float = 1.0
    bend: float = 1.0
    nucleus: float = 1.0
    nucleus_stretch: float = 1.25
    aligned: bool = False
    joined: bool = False
    dimmest: float = 0.75
    fading: float = 0.0
    red_in_nucleus: float = 1.0
    gamma: float = 1.0
    gain: tuple[float, float] = (0.6, 1.0)
    background: float = 0.03
    blur: float = 1.0
    noise: float = 1.0

    def diameter(self, plain: float, size: int) -> float:
        """Diameter of a cell in px, of a field of `size` px whose plain diameter is `plain`."""
        if self.size == 1:
            return plain
        return min(plain * self.size, _LARGEST_CELL * size)


PLAIN = Variation()


def draw_variation(rng: np.random.Generator) -> Variation:
    """Draws the variation of a field; a quarter of all fields are plain.

    The ranges take in what real fields of several cell lines show, at a diameter of 0.5 to 1.6 of
    the drawn ones: cells twice as long as wide, nuclei of half a cell's width, cells alone or
    packed, and neighbours of which one is three times as bright as the other.
    """
    if rng.random() < _PLAIN_FRACTION:
        return PLAIN
    half_axis = rng.uniform(0.46, 0.64)
    lowest_gain = rng.uniform(0.25, 0.7)
    return Variation(
        size=_log_uniform(rng, 0.5, 1.6),
        half_axis=half_axis,
        stretch=rng.uniform(1.05, 1.5),
        spacing=rng.uniform(-0.06, 0.25),
        filled=min(1.0, rng.uniform(0.3, 1.6)),
        bend=rng.uniform(0.5, 1.6),
        nucleus=rng.uniform(0.6, 1.05) * half_axis / PLAIN.half_axis,
        nucleus_stretch=rng.uniform(1.0, 1.35),
        aligned=True,
        joined=True,
        dimmest=rng.uniform(0.3, 0.85),
        fading=rng.uniform(0.0, 0.85),
        red_in_nucleus=rng.uniform(0.1, 1.0),
        gamma=rng.uniform(0.7, 1.6),
        gain=(lowest_gain, lowest_gain + rng.uniform(0.1, 0.7)),
        background=rng.uniform(0.006, 0.1),
        blur=_log_uniform(rng, 0.6, 3.0),
        noise=_log_uniform(rng, 0.3, 3.0),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
