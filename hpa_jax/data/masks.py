"""Instance masks inside a record: stored as the codecs of images store four channels.

The first two of the four channels are cells and nuclei, the others are empty, so that masks have
the checksums of images and any program that reads the one reads the other.
"""

import numpy as np

from hpa_jax.data import codec

PLANES = ("cells", "nuclei")
"""The masks of a field, in their order in the last axis."""

_EMPTY = codec.CHANNELS - len(PLANES)


def encode_masks(masks: np.ndarray, codec_name: str) -> bytes:
    """Encodes masks without loss.

    Args:
      masks: uint16 [H, W, 2]: cells and nuclei, 0 is background.
      codec_name: one of `codec.CODECS`.

    Raises:
      ValueError: no such codec, or an array that is no such masks.
    """
    if masks.dtype != np.uint16 or masks.ndim != 3 or masks.shape[2] != len(PLANES):
        raise ValueError(f"masks are uint16 [H, W, 2], got {masks.dtype} {list(masks.shape)}")
    padded = np.pad(masks, ((0, 0), (0, 0), (0, _EMPTY)))
    return codec.encode(padded, codec_name)


def decode_masks(data: bytes) -> np.ndarray:
    """Decodes what `encode_masks` returned.

    Returns:
      uint16 [H, W, 2]: cells and nuclei.

    Raises:
      ValueError: damaged data, or none that `encode_masks` makes.
    """
    decoded = codec.decode(data)
    if decoded.dtype != np.uint16 or decoded[..., len(PLANES) :].any():
        raise ValueError("no instance masks")
    return np.ascontiguousarray(decoded[..., : len(PLANES)])
