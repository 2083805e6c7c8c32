"""Brightness and contrast of each channel, as microscopes and stainings vary them.

The pure functions change all images of a batch by factors that are given; `jitter` draws those. A
channel that is black, since it was not imaged, stays black.

References:
  FINO, a fork of DINOv3 for the Atlas (`transforms_bio.py`), after Cell-DINO: `RandomContrast` and
  `RandomBrightness`, factors N(1, 0.2) of at least 0.5 for each channel; and
  `RandomContrastProteinChannel`, in a fifth of the images. Contrast and brightness are those of
  torchvision's `adjust_contrast` and `adjust_brightness` for an image of one channel.
"""

import jax
import jax.numpy as jnp

from hpa_jax.labels import CHANNELS

WHITE = 255.0
_SMALLEST_FACTOR = 0.5
_GREEN = CHANNELS.index("green")

# The key is split into numbers 0 to 3 for the draws that there were first.
_EXPOSURE_DRAWS = 1 << 16


def adjust_contrast(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Moves each channel away from its mean, or toward it.

    Args:
      images: float32 `[B, H, W, C]`, 0 to 255.
      factors: float32 `[B, C]`; 1 changes nothing, 0 leaves the mean.

    Returns:
      float32 `[B, H, W, C]`, clipped to 0 to 255.
    """
    mean = jnp.mean(images, axis=(1, 2), keepdims=True)
    factors = factors[:, None, None, :]
    return jnp.clip(factors * images + (1 - factors) * mean, 0, WHITE)


def adjust_brightness(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Multiplies each channel.

    Args:
      images: float32 `[B, H, W, C]`, 0 to 255.
      factors: float32 `[B, C]`, 0 or more, or `[B, 1]`: one for all channels.

    Returns:
      float32 `[B, H, W, C]`, clipped to 0 to 255.
    """
    return jnp.clip(factors[:, None, None, :] * images, 0, WHITE)


def rescale_protein(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Multiplies green, the protein, by a factor over the brightest pixel of any channel.

    How bright the protein is beside the reference channels says how much of it there is, and how
    long the exposure was; where it is, neither.

    Args:
      images: float32 `[B, H, W, 4]`, 0 to 255.
      factors: float32 `[B]`, of fractions of 255; NaN leaves an image as it is.

    Returns:
      float32 `[B, H, W, 4]`; above 255 where the protein is brighter than white now.
    """
    brightest = jnp.max(images, axis=(1, 2, 3)) / WHITE
    # An image without a bright pixel is black, whatever it is multiplied by.
    scales = factors / jnp.where(brightest > 0, brightest, 1.0)
    scales = jnp.where(jnp.isnan(factors), 1.0, scales)
    is_green = jnp.arange(images.shape[-1]) == _GREEN
    by_channel = jnp.where(is_green, scales[:, None], 1.0)
    return images * by_channel[:, None, None, :]


def jitter(
    images: jax.Array,
    key: jax.Array,
    *,
    protein_contrast: float = 0.0,
    contrast: float = 0.0,
    brightness: float = 0.0,
    exposure: float = 0.0,
) -> jax.Array:
    """Draws the protein's brightness, contrast and brightness of each channel, then the exposure.

    Args:
      images: float32 `[B, H, W, 4]`, 0 to 255.
      key: of the draws.
      protein_contrast: probability that green is rescaled by a factor from 0 to 2
        (`rescale_protein`).
      contrast: standard deviation of the factors of `adjust_contrast`, around 1.
      brightness: the same of `adjust_brightness`.
      exposure: the same of one factor for all channels of an image.

    Returns:
      float32 `[B, H, W, 4]`, 0 to 255.
    """
    # One key for each draw, whether it is needed or not: settings do not change other draws.
    chosen_key, protein_key, contrast_key, brightness_key = jax.random.split(key, 4)
    batch_size = len(images)
    if protein_contrast:
        chosen = jax.random.bernoulli(chosen_key, protein_contrast, (batch_size,))
        factors = jax.random.uniform(protein_key, (batch_size,), maxval=2.0)
        images = rescale_protein(images, jnp.where(chosen, factors, jnp.nan))
    by_channel = (batch_size, images.shape[-1])
    if contrast:
        images = adjust_contrast(images, _draw_factors(contrast_key, contrast, by_channel))
    if brightness:
        images = adjust_brightness(images, _draw_factors(brightness_key, brightness, by_channel))
    if exposure:
        draws = jax.random.fold_in(key, _EXPOSURE_DRAWS)
        images = adjust_brightness(images, _draw_factors(draws, exposure, (batch_size, 1)))
    return jnp.clip(images, 0, WHITE)


def _draw_factors(key: jax.Array, std: float, shape: tuple[int, int]) -> jax.Array:
    factors = 1 + std * jax.random.normal(key, shape)
    return jnp.maximum(factors, _SMALLEST_FACTOR)
