"""First convolutions for another number of channels than the three that they were trained for.

The net's channels are taken as red, green, blue, then any others: with the channel mix `rgby`,
yellow is the other.
"""

import numpy as np

from hpa_jax.errors import InputError

COLORS = 3


def copy_red(kernel: np.ndarray, channels: int) -> np.ndarray:
    """w'_c = w_c of the first three, w_red of every further channel.

    Nothing is rescaled, so responses grow.

    Args:
      kernel: `float32 [h, w, 3, F]`, red first.
      channels: 3 or more.

    Returns:
      `float32 [h, w, channels, F]`.

    References:
      The challenge's first place: bestfitting, src/networks/densenet.py in
      https://github.com/CellProfiling/HPA-competition-solutions
    """
    further = np.repeat(kernel[:, :, :1], channels - COLORS, axis=2)
    return np.concatenate([kernel, further], axis=2)


def mean(kernel: np.ndarray, channels: int) -> np.ndarray:
    """w'_c = 3/N w_c of the first three, 3/N (w_red + w_green + w_blue)/3 of every further channel.

    Args and Returns as of `copy_red`.

    References:
      `expand_patch_embed` of FINO fills and scales alike.
    """
    further = np.repeat(kernel.mean(axis=2, keepdims=True), channels - COLORS, axis=2)
    return np.concatenate([kernel, further], axis=2) * np.float32(COLORS / channels)


def repeat(kernel: np.ndarray, channels: int) -> np.ndarray:
    """w'_c = 3/N w_(c mod 3); for one channel, the sum of the three.

    Args:
      kernel: `float32 [h, w, 3, F]`, red first.
      channels: 1 or more; for two, 3/2 of red's and green's.

    Returns:
      `float32 [h, w, channels, F]`.

    References:
      `adapt_input_conv` of timm, timm/models/_manipulate.py in
      https://github.com/huggingface/pytorch-image-models
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % COLORS] * np.float32(COLORS / channels)


STEMS = {"copy_red": copy_red, "mean": mean, "repeat": repeat}
"""Methods by name. With three channels each leaves the filters as they are."""
# The one that can make fewer channels of three.
_FOR_FEWER = "repeat"


def check_stem(name: str) -> None:
    """Raises InputError where `name` is not in STEMS."""
    if name not in STEMS:
        raise InputError(f"config.model.stem={name!r} is unknown; choose one of {', '.join(STEMS)}")


def inflate(kernel: np.ndarray, channels: int, name: str) -> np.ndarray:
    """Filters for three channels as filters for any number.

    Args:
      kernel: `float32 [h, w, 3, F]`, red first.
      channels: of the net.
      name: one of STEMS.

    Returns:
      `float32 [h, w, channels, F]`.

    Raises:
      InputError: the method cannot make so few channels.
    """
    if channels < COLORS and name != _FOR_FEWER:
        raise InputError(
            f"config.model.stem={name!r} only adds to {COLORS} channels, and "
            f"config.data.channel_mix has {channels}; set --config.model.stem={_FOR_FEWER}"
        )
    if channels == COLORS:
        return kernel
    return np.ascontiguousarray(STEMS[name](kernel, channels), dtype=np.float32)
