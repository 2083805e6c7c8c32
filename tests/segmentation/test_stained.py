"""What a net says of places without stain is not taken."""

import numpy as np

from hpa_jax.segmentation.stained import without_unstained
from hpa_jax.segmentation.targets import MAPS

SIDE = 64


def field():
    """A cell of radius 20 with a nucleus of radius 8 in the middle, in the dark."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    distance = np.hypot(y, x)
    made = np.zeros((SIDE, SIDE, 4), np.uint8)
    made[distance < 20] = (120, 0, 0, 120)
    made[distance < 8] = (40, 0, 200, 40)
    return made, distance


def test_cells_are_kept_where_there_is_stain_and_nuclei_where_there_is_blue():
    made, distance = field()
    maps = np.full((SIDE, SIDE, 4), 0.9, np.float32)
    found = without_unstained(maps, made)
    assert (maps == np.float32(0.9)).all()
    for number, name in enumerate(MAPS):
        radius = 8 if name.startswith("nucle") else 20
        assert (found[..., number][distance < radius - 2] == np.float32(0.9)).all()
        assert not found[..., number][distance > radius + 8].any()


def test_channels_that_were_not_imaged_are_not_asked():
    made, distance = field()
    maps = np.full((SIDE, SIDE, 4), 0.9, np.float32)
    np.testing.assert_array_equal(without_unstained(maps, np.zeros_like(made)), maps)
    only_blue = made * np.array([0, 0, 1, 0], np.uint8)
    found = without_unstained(maps, only_blue)
    assert (found[..., 0] == np.float32(0.9)).all()
    assert not found[..., -1][distance > 20].any()
