"""Pictures of what the net looked at: one PNG an image.

At the left the image in false colours, then a panel for each label that was decided, the one that
is farthest above its threshold first: the protein in gray, with orange where it speaks for the
label, and a blue line around where it does so at half its strength or more. Without a decided
label, the one that came nearest has its panel.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import check_writable, safe_stem, write_atomically
from hpa_jax.folders.mark import has_mark, write_mark
from hpa_jax.images.false_color import false_color, stretch_contrast
from hpa_jax.images.resize import fit_square
from hpa_jax.labels import CHANNELS
from hpa_jax.serving import decision

MOST_LABELS = 3
"""Of one picture."""

_SMALLEST_SIDE = 256
_CAPTION = 24
_GAP = 4
_TINT = np.array([255, 140, 0], np.float32)
_EDGE = (86, 180, 233)
_TINT_STRENGTH = 0.6
_LINE_GRAY = 128
# In the mark of a folder of pictures.
_KIND = "overlays"
_ADVICE = "choose another --overlays"


class Overlays:
    """Writes the pictures of a prediction.

    Args:
      folder: for the pictures; it is made.
      images: folder or zip of the images.
      description: contents of model.json.

    Raises:
      InputError: the folder cannot be written, lies in that of the images, or holds what is not
        this program's.
    """

    def __init__(self, folder: Path, images: Path, description: Mapping[str, Any]):
        _refuse_foreign(folder)
        _refuse_inside(folder, images)
        check_writable(folder, _ADVICE)
        write_mark(folder, _KIND)
        self._folder = folder
        self._description = description

    def has(self, image_id: str) -> bool:
        """Whether the picture of an image is there."""
        return (self._folder / file_name(image_id)).is_file()

    def write(
        self,
        image_id: str,
        pixels: np.ndarray,
        probabilities: np.ndarray,
        maps: np.ndarray,
    ) -> None:
        """Writes the picture of an image.

        Args:
          image_id: its Id.
          pixels: uint8 [S, S, 4], as the net took it.
          probabilities: float32 [L].
          maps: float32 [h, w, L], larger where more speaks for the label.
        """
        labels = shown_labels(self._description, probabilities)
        names = decision.label_names(self._description)
        captions = [f"{names[k]}  {probabilities[k]:.2f}" for k in labels]
        picture = draw(pixels, [maps[..., k] for k in labels], captions)
        # OpenCV takes blue first.
        _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
        write_atomically(self._folder / file_name(image_id), encoded.tobytes())


def _refuse_foreign(folder: Path) -> None:
    """Pictures are named by Ids, as the images themselves may be: none of those is written over."""
    try:
        if not folder.exists() or not any(folder.iterdir()) or has_mark(folder, _KIND):
            return
    except OSError as error:
        raise InputError(
            f"--overlays={folder} cannot be used: {one_line(error)}; {_ADVICE}"
        ) from None
    raise InputError(f"--overlays={folder} is not empty and not of this program; {_ADVICE}")


def _refuse_inside(folder: Path, images: Path) -> None:
    """A second call would take the pictures for images."""
    if folder.resolve().is_relative_to(images.resolve()):
        raise InputError(
            f"--overlays={folder} lies in the folder of the images, of which its pictures would "
            f"be some the next time; {_ADVICE}"
        )


def shown_labels(description: Mapping[str, Any], probabilities: np.ndarray) -> list[int]:
    """Positions of the labels that a picture shows, one at least and MOST_LABELS at most."""
    decided = decision.decide(description, probabilities[None])[0]
    nearness = decision.nearness(description, probabilities[None])[0]
    order = np.argsort(-nearness, kind="stable")
    shown = [int(k) for k in order if decided[k]]
    return shown[:MOST_LABELS] or [int(order[0])]


def draw(pixels: np.ndarray, maps: list[np.ndarray], captions: list[str]) -> np.ndarray:
    """Draws the panels of a picture beside each other.

    Args:
      pixels: uint8 [S, S, 4].
      maps: float32 [h, w] of each label.
      captions: of each label.

    Returns:
      uint8 [height, width, 3] RGB.
    """
    side = max(_SMALLEST_SIDE, pixels.shape[0])
    bright = stretch_contrast(fit_square(pixels, side))
    panels = [_captioned(false_color(bright), "")]
    gray = np.repeat(bright[..., CHANNELS.index("green"), None], 3, axis=2)
    for heat, caption in zip(maps, captions, strict=True):
        panels.append(np.full((side + _CAPTION, _GAP, 3), _LINE_GRAY, np.uint8))
        panels.append(_captioned(_tinted(gray, heat), caption))
    return np.concatenate(panels, axis=1)


def file_name(image_id: str) -> str:
    """The name of an image's picture: safe, and another one for each Id."""
    return f"{safe_stem(image_id)}.png"


def _tinted(gray: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays a map over a panel, uint8 [side, side, 3]; what speaks against a label tints nothing."""
    side = gray.shape[0]
    spread = cv2.resize(heat.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    spread = np.maximum(spread, 0)
    largest = spread.max()
    if largest > 0:
        spread /= largest
    above_half = (spread >= 0.5).astype(np.uint8)
    edges, _ = cv2.findContours(above_half, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    weight = _TINT_STRENGTH * spread[..., None]
    panel = np.rint(gray * (1 - weight) + _TINT * weight).astype(np.uint8)
    return cv2.drawContours(np.ascontiguousarray(panel), edges, -1, _EDGE, 1)


def _captioned(panel: np.ndarray, text: str) -> np.ndarray:
    band = np.zeros((_CAPTION, panel.shape[1], 3), np.uint8)
    # OpenCV's letters are those of ASCII.
    plain = text.encode("ascii", "replace").decode()
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(band, plain, (6, 17), font, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([band, panel])
