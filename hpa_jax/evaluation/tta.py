"""Test-time augmentation: one field looked at several times on the device, and one score of it all.

A field's windows are zoomed to the whole image; each window is seen in the eight symmetries of the square. The scores
of the symmetries are averaged, then those of the windows averaged or their largest taken (a protein that one window
alone shows counts in full with `max`, as in the four crops of bestfitting, who won the 2018 challenge).

Unusual: the views are the steps of a loop (`lax.map`), not a larger batch. Forty views need the memory of one, the net
is compiled once, and a batch that is cut over a mesh stays cut.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hpa_jax.errors import InputError
from hpa_jax.transforms.geometry import symmetry, warp_upright

TTA = ("none", "symmetries")
CROPS = (0, 1, 5)
COMBINE = ("mean", "max")
PLAIN = "whole field"


def make_tta_score_step(
    score_step: Callable[[dict, jax.Array], jax.Array],
    *,
    tta: str = "none",
    crops: int = 0,
    crop_side: float = 0.875,
    combine: str = "mean",
) -> Callable[[dict, jax.Array], jax.Array]:
    """Scores of fields under all views, to be jitted.

    Args:
      score_step: variables and images `[B, H, W, 4]` (uint8, or float from 0 to 255) to logits `[B, L]`.
      tta: `symmetries`: the mean score of the eight symmetries (of four where H and W differ); `none`: as stored.
      crops: 0, the whole field; 1, its central window; 5, that and the four at the corners.
      crop_side: of a window, as a share of the field's side. Bilinear samples, none from beyond the border.
      combine: of the windows' scores: `mean` or `max`.

    Returns:
      A function of variables and uint8 `[B, H, W, 4]` that gives probabilities `float32 [B, L]`.

    Raises:
      InputError: names the setting that is not one of those.
    """
    check_tta(tta=tta, crops=crops, crop_side=crop_side, combine=combine)

    def over_symmetries(variables: dict, images: jax.Array) -> jax.Array:
        if tta == "none":
            return jax.nn.sigmoid(score_step(variables, images))
        count = 8 if images.shape[1] == images.shape[2] else 4
        seen = lambda which: symmetry(images, jnp.full(len(images), which))  # noqa: E731
        scores = jax.lax.map(
            lambda which: jax.nn.sigmoid(score_step(variables, seen(which))), jnp.arange(count)
        )
        return scores.mean(0)

    def view_score(variables: dict, images: jax.Array) -> jax.Array:
        if crops == 0:
            return over_symmetries(variables, images)

        def seen(centre: jax.Array) -> jax.Array:
            side, centres = (
                jnp.full(len(images), crop_side),
                jnp.broadcast_to(centre, (len(images), 2)),
            )
            return warp_upright(images.astype(jnp.float32), side, centres)

        centres = window_centres(crops, crop_side, images.shape[1:3])
        scores = jax.lax.map(lambda centre: over_symmetries(variables, seen(centre)), centres)
        return scores.max(0) if combine == "max" else scores.mean(0)

    return view_score


def window_centres(crops: int, crop_side: float, shape: tuple[int, int]) -> jax.Array:
    """Where the windows' centres lie off the middle, as `warp_upright` takes them: `float32 [crops, 2]`, y and x.

    Corner windows begin or end on the middle of the image's outermost pixel: no sample is taken beyond it.
    """
    y, x = ((size - 1) / size * (1 - crop_side) / 2 for size in shape)
    return jnp.array([(0, 0), (-y, -x), (-y, x), (y, -x), (y, x)][:crops], jnp.float32)


def check_tta(*, tta: str, crops: int, crop_side: float, combine: str) -> None:
    """Raises InputError with the setting that is none of those that there are."""
    for name, value, known in (
        ("tta", tta, TTA),
        ("crops", crops, CROPS),
        ("combine", combine, COMBINE),
    ):
        if value not in known:
            there = ", ".join(map(str, known))
            raise InputError(f"config.evaluate.{name}={value!r} is unknown; choose one of {there}")
    if not 0 < crop_side <= 1:
        raise InputError(
            f"config.evaluate.crop_side={crop_side!r} is out of range; allowed: above 0, up to 1"
        )


def describe(*, tta: str, crops: int, crop_side: float, combine: str) -> str:
    """The views in words, equal for equal views: what a table of scores is marked with."""
    check_tta(tta=tta, crops=crops, crop_side=crop_side, combine=combine)
    windows = {
        0: PLAIN,
        1: f"central window of {crop_side:g}",
        5: f"{combine} of 5 windows of {crop_side:g}",
    }[crops]
    return windows if tta == "none" else f"{windows}, 8 symmetries"
