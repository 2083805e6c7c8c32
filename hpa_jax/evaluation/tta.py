"""Test-time augmentation: an image is scored several times on the device, the scores become one.

An image's windows are zoomed to its size; each window is scored in the eight symmetries of the
square. The scores of the symmetries are averaged, then those of the windows averaged or their
maximum taken. With `max` a protein that only one window shows counts in full, as in the four crops
of bestfitting, who won the 2018 challenge.

Notes:
- The augmented images are the steps of a loop (`lax.map`), not a larger batch. Forty of them need
  the memory of one, the net is compiled once, and a sharded batch stays sharded.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hpa_jax.errors import InputError
from hpa_jax.optim.losses import probabilities_function
from hpa_jax.transforms.geometry import symmetry, warp_upright

TTA = ("none", "symmetries")
CROPS = (0, 1, 5)
COMBINE = ("mean", "max")
PLAIN = "whole image"
"""What `describe` returns where an image is scored once, as stored."""

ScoreStep = Callable[[dict, jax.Array], jax.Array]


def make_tta_score_step(
    score_step: ScoreStep,
    *,
    tta: str = "none",
    crops: int = 0,
    crop_side: float = 0.875,
    combine: str = "mean",
    single_label: bool = False,
) -> ScoreStep:
    """Scores of images under test-time augmentation, to be jitted.

    Args:
      score_step: variables and images `[B, H, W, 4]` (uint8, or float from 0 to 255) to logits
        `[B, L]`.
      tta: `symmetries`: the mean score of the eight symmetries (of four where H and W differ);
        `none`: as stored.
      crops: 0, the whole image; 1, its central window; 5, that and the four at the corners.
      crop_side: of a window, as a fraction of the image's side. Samples are bilinear, none from
        beyond the border.
      combine: of the windows' scores: `mean` or `max`.
      single_label: every image has exactly one label: an image's probabilities sum to 1, and are
        averaged alone.

    Returns:
      A function of variables and uint8 `[B, H, W, 4]` that returns probabilities `float32 [B, L]`.

    Raises:
      InputError: names the setting that is unknown or out of range.
      ValueError: `single_label` with `max`.
    """
    if single_label and combine == "max" and crops:
        raise ValueError("the largest of several probabilities do not sum to 1")
    check_tta(tta=tta, crops=crops, crop_side=crop_side, combine=combine)
    probabilities = probabilities_function(single_label=single_label)

    def plain_score(variables: dict, images: jax.Array) -> jax.Array:
        return probabilities(score_step(variables, images))

    def symmetries_score(variables: dict, images: jax.Array) -> jax.Array:
        square = images.shape[1] == images.shape[2]
        count = 8 if square else 4

        def score_of(number: jax.Array) -> jax.Array:
            numbers = jnp.full(len(images), number)
            return plain_score(variables, symmetry(images, numbers))

        return jax.lax.map(score_of, jnp.arange(count)).mean(0)

    # Symmetries are averaged within each window before the windows' maximum is taken.
    window_score = plain_score if tta == "none" else symmetries_score

    def windows_score(variables: dict, images: jax.Array) -> jax.Array:
        def score_of(center: jax.Array) -> jax.Array:
            sides = jnp.full(len(images), crop_side)
            centers = jnp.broadcast_to(center, (len(images), 2))
            window = warp_upright(images.astype(jnp.float32), sides, centers)
            return window_score(variables, window)

        centers = window_centers(crops, crop_side, images.shape[1:3])
        scores = jax.lax.map(score_of, centers)
        if combine == "max":
            return scores.max(0)
        return scores.mean(0)

    if crops == 0:
        return window_score
    return windows_score


def window_centers(crops: int, crop_side: float, shape: tuple[int, int]) -> jax.Array:
    """Offsets of the windows' centers from the image's, as `warp_upright` takes them.

    Corner windows begin or end on the middle of the image's outermost pixel: no sample is taken
    beyond it.

    Returns:
      `float32 [crops, 2]`, y and x as fractions of the side.
    """
    y, x = ((size - 1) / size * (1 - crop_side) / 2 for size in shape)
    centers = [(0, 0), (-y, -x), (-y, x), (y, -x), (y, x)]
    return jnp.array(centers[:crops], jnp.float32)


def check_tta(*, tta: str, crops: int, crop_side: float, combine: str) -> None:
    """Raises InputError with the setting that is unknown or out of range."""
    _check_known("tta", tta, TTA)
    _check_known("crops", crops, CROPS)
    _check_known("combine", combine, COMBINE)
    if not 0 < crop_side <= 1:
        raise InputError(
            f"config.evaluate.crop_side={crop_side!r} is out of range; allowed: above 0, up to 1"
        )


def _check_known(name: str, value, known: tuple) -> None:
    if value not in known:
        choices = ", ".join(map(str, known))
        raise InputError(f"config.evaluate.{name}={value!r} is unknown; choose one of {choices}")


def describe(*, tta: str, crops: int, crop_side: float, combine: str) -> str:
    """The settings in words, equal where they augment equally: what a table of scores records."""
    check_tta(tta=tta, crops=crops, crop_side=crop_side, combine=combine)
    windows = {
        0: PLAIN,
        1: f"central window of {crop_side:g}",
        5: f"{combine} of 5 windows of {crop_side:g}",
    }[crops]
    if tta == "none":
        return windows
    return f"{windows}, 8 symmetries"


def in_current_words(description: str) -> str:
    """What `describe` returns today for a description that version 0.1 recorded."""
    return description.replace("whole field", PLAIN)
