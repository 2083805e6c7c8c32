"""Folders of images, a file a channel, drawn by the test."""

import numpy as np
from support.image_files import encoded, smooth

from hpa_jax.labels import CHANNELS


def planes(seed=0, shape=(40, 48)):
    """uint8 [H, W] by channel."""
    return {channel: smooth(shape, seed=seed + k) for k, channel in enumerate(CHANNELS)}


def write_images(folder, pattern="{id}_{channel}.png", ids=("a", "b"), shape=(40, 48)):
    """Writes the files of some images; returns uint8 [H, W, 4] by Id."""
    made = {}
    for number, image_id in enumerate(ids):
        of_image = planes(10 * number, shape)
        for channel, plane in of_image.items():
            path = folder / pattern.format(id=image_id, channel=channel)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(plane, "tiff" if path.suffix == ".tif" else "png"))
        made[image_id] = np.stack(list(of_image.values()), axis=-1)
    return made
