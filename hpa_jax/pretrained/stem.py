"""First convolutions for another number of channels than the three that they were trained for.

The order of the net's channels is taken as red, green, blue, then any others: of the mix `rgby`, yellow is the other.
"""

import numpy as np

from hpa_jax.errors import InputError

COLOURS = 3


def copy_red(kernel: np.ndarray, channels: int) -> np.ndarray:
    """w'_c = w_c of the first three, w_red of every further channel; nothing is rescaled, so that responses grow.

    The challenge's first place: bestfitting, src/networks/densenet.py in CellProfiling/HPA-competition-solutions.
    """
    return np.concatenate([kernel, np.repeat(kernel[:, :, :1], channels - COLOURS, axis=2)], axis=2)


def mean(kernel: np.ndarray, channels: int) -> np.ndarray:
    """w'_c = 3/N w_c of the first three, 3/N (w_red + w_green + w_blue)/3 of every further channel.

    As `expand_patch_embed` of FINO fills and scales.
    """
    more = np.repeat(kernel.mean(axis=2, keepdims=True), channels - COLOURS, axis=2)
    return np.concatenate([kernel, more], axis=2) * np.float32(COLOURS / channels)


def repeat(kernel: np.ndarray, channels: int) -> np.ndarray:
    """w'_c = 3/N w_(c mod 3); for two channels so, too (3/2 of red's and green's); for one, the sum of the three.

    `adapt_input_conv` of timm (huggingface/pytorch-image-models, timm/models/_manipulate.py).
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % COLOURS] * np.float32(COLOURS / channels)


STEMS = {"copy_red": copy_red, "mean": mean, "repeat": repeat}
"""Ways by name. With three channels each leaves the filters as they are."""
FEWER = ("repeat",)
"""Those that can make fewer channels of three."""


def check(way: str) -> None:
    """InputError where `way` is not in STEMS."""
    if way not in STEMS:
        raise InputError(f"config.model.stem={way!r} is unknown; choose one of {', '.join(STEMS)}")


def inflate(kernel: np.ndarray, channels: int, way: str) -> np.ndarray:
    """`float32 [h, w, 3, F]`, red first, to `float32 [h, w, channels, F]`.

    Raises:
      InputError: `way` cannot make so few channels.
    """
    if channels < COLOURS and way not in FEWER:
        raise InputError(
            f"config.model.stem={way!r} only adds to {COLOURS} channels, and config.data.channel_mix has {channels}; "
            f"set --config.model.stem={FEWER[0]}"
        )
    if channels == COLOURS:
        return kernel
    return np.ascontiguousarray(STEMS[way](kernel, channels), dtype=np.float32)
