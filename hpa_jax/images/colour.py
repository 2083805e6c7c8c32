"""Which plane of an image in colour holds a channel.

Never luma, which would make 76 out of a red 254: red R, green G, blue B, yellow R.
"""

import numpy as np

from hpa_jax.images.rule import Rule
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused

# At 24 an Atlas image darkened eightfold and saved at quality 20 looks gray.
_BRIGHT = 32
_PLANES = {"red": (0,), "green": (1,), "blue": (2,), "yellow": (0, 1)}


def is_gray(image: np.ndarray) -> bool:
    """Whether the three colours of an image [H, W, 3] are equal everywhere."""
    red = image[..., 0]
    green = image[..., 1]
    blue = image[..., 2]
    return bool((red == green).all() and (green == blue).all())


def only_channel(image: np.ndarray) -> str:
    """The channel whose colour alone an image shows; empty if it shows several, or none.

    Args:
      image: [H, W, 3] in red, green, blue. A JPG shows several, since its colours bleed.
    """
    lit = _lit_planes(image)
    for channel, planes in _PLANES.items():
        if lit == planes:
            return channel
    return ""


def is_ramp(palette: np.ndarray) -> bool:
    """Whether a palette shows each number as that much of one colour, as ImageJ's tables do.

    Then the numbers in the file are the values themselves.

    Args:
      palette: unsigned [N, 3], red, green and blue of each number, the largest value 255.
    """
    count = len(palette)
    ramp = np.arange(count) * 255 // max(1, count - 1)
    is_lit = False
    for shades in palette.T:
        if not shades.any():
            continue
        if not np.array_equal(shades, ramp):
            return False
        is_lit = True
    return is_lit


def select_plane(image: np.ndarray, rule: Rule, channel: str, lossy: bool) -> np.ndarray:
    """The plane that holds the channel.

    Args:
      image: [H, W, 3] in red, green, blue.
      rule: of the source.
      channel: one of CHANNELS.
      lossy: whether colours bleed into each other.

    Returns:
      [H, W].

    Raises:
      Refused: no plane holds it alone, or it is another channel's.
    """
    if is_gray(image):
        return image[..., 0]
    lit = _lit_planes_lossy(image, rule, channel) if lossy else _lit_planes(image)
    if lit is None:
        raise Refused(
            f"shows several channels at once; save the channel's own plane as {rule.wanted}"
        )
    if rule.by_colour and lit != _PLANES[channel]:
        seen = next(colour for colour, planes in _PLANES.items() if planes == lit)
        raise Refused(f"is {seen}, not {channel}: channels are swapped; {DOWNLOAD_AGAIN}")
    return image[..., lit[0]]


def _lit_planes(image: np.ndarray) -> tuple[int, ...] | None:
    """The only plane that is not zero, or red and green if equal; None for other colours."""
    lit = tuple(plane for plane in range(3) if image[..., plane].any())
    is_yellow = lit == _PLANES["yellow"] and (image[..., 0] == image[..., 1]).all()
    return lit if len(lit) == 1 or is_yellow else None


def _lit_planes_lossy(image: np.ndarray, rule: Rule, channel: str) -> tuple[int, ...] | None:
    """The planes of a channel's colour; None for other colours.

    Compression makes colours bleed, so planes count by their energy (sum of squares) in the bright
    pixels: those with a quarter of the largest are lit. In the dark it mixes the planes: if hardly
    a pixel is bright, the file's colour cannot be recognised.
    """
    step = max(1, min(image.shape[:2]) // 512)
    sample = image[::step, ::step].reshape(-1, 3)
    bright = sample[sample.max(-1) >= _BRIGHT].astype(np.float32)
    if len(bright) < len(sample) / 1000:
        if rule.by_colour:
            return _PLANES[channel]
        energy = np.square(sample.astype(np.float32)).sum(0)
        return (int(energy.argmax()),)
    energy = np.square(bright).sum(0)
    lit = tuple(np.flatnonzero(energy >= energy.max() / 4).tolist())
    return lit if lit in _PLANES.values() else None
