"""What a net learns of instance masks: four maps, from which `from_maps` makes masks again.

Design:
- A distance is divided by the largest one in its own cell, so that a net need not know how large
  cells are, and that each has a middle where its map is 1. Between cells that touch it falls to
  nearly 0, which is what tells them apart.
- All four lie between 0 and 1: one sigmoid and one loss serve them all.

References:
  Schmidt et al., Cell detection with star-convex polygons, MICCAI 2018 (the normalised distance
    to the edge as a probability).
  Naylor et al., Segmentation of nuclei in histopathology images by deep regression of the distance
    map, IEEE TMI 38, 2019.
"""

import cv2
import numpy as np

MAPS = ("cells", "cell_distance", "nuclei", "nucleus_distance")
"""The maps in their order in the last axis."""


def target_maps(masks: np.ndarray) -> np.ndarray:
    """The maps of a field's masks.

    Args:
      masks: integer [H, W, 2]: cells and nuclei, 0 is background.

    Returns:
      float32 [H, W, 4], 0 to 1, in the order of MAPS: whether a pixel is of a cell, how far inside
      it is (`edge_distance`), and the same of nuclei.
    """
    cells = masks[..., 0]
    nuclei = masks[..., 1]
    maps = (
        (cells > 0).astype(np.float32),
        edge_distance(cells),
        (nuclei > 0).astype(np.float32),
        edge_distance(nuclei),
    )
    return np.stack(maps, axis=-1)


def edge_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the edge of the own instance, as a fraction of the largest one in it.

    The field's border is no edge: an instance that it cuts goes on behind it.

    Args:
      mask: integer [H, W], 0 is background; numbers may have gaps.

    Returns:
      float32 [H, W]: above 0 to 1 in instances, 1 at their innermost pixel; 0 in the background.
    """
    inside = mask > 0
    distance = cv2.distanceTransform(_interior(mask).astype(np.uint8), cv2.DIST_L2, 5)
    if not np.isfinite(distance).all() or distance.max(initial=0) > sum(mask.shape):
        # No edge in the field at all.
        return inside.astype(np.float32)
    # A pixel of the edge is half a pixel inside.
    distance = np.where(inside, distance + 0.5, 0)
    largest = np.ones(int(mask.max(initial=0)) + 1, np.float32)
    largest[1:] = 0
    np.maximum.at(largest, mask[inside], distance[inside])
    return (distance / largest[mask]).astype(np.float32)


def _interior(mask: np.ndarray) -> np.ndarray:
    """Where a pixel and its eight neighbours in the field are of one instance; bool [H, W]."""
    padded = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    same = mask > 0
    for row in range(3):
        for column in range(3):
            same &= padded[row : row + height, column : column + width] == mask
    return same
