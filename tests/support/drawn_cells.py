"""Folders of images with masks of their cells, drawn by the test."""

import cv2
import numpy as np
from support.image_folders import write_images

SHAPE = (48, 60)
# Number, middle (x, y) and half axes of each cell; the last lies at the border.
CELLS = {3: (14, 13, 9, 6), 7: (40, 20, 8, 12), 8: (22, 44, 10, 8)}


def mask(numbers=tuple(CELLS), shape=SHAPE):
    """uint16 [H, W]: ellipses, 0 is background."""
    labels = np.zeros(shape, np.uint16)
    for number in numbers:
        x, y, width, height = CELLS[number]
        cv2.ellipse(labels, (x, y), (width, height), 0, 0, 360, number, -1)
    return labels


def write_fields(folder, masks, cells_of):
    """Writes images and their masks.

    Args:
      folder: for the images.
      masks: for the masks.
      cells_of: numbers of each image's cells, by Id.

    Returns:
      uint8 [H, W, 4] by Id, and uint16 [H, W] by Id.
    """
    made = write_images(folder, ids=tuple(cells_of), shape=SHAPE)
    drawn = {}
    for image_id, numbers in cells_of.items():
        drawn[image_id] = mask(numbers)
        path = masks / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), drawn[image_id])
    return made, drawn
