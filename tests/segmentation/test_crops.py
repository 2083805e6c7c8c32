"""Cells cut out of a field, against crops made by hand."""

import cv2
import numpy as np
import pytest

from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.crops import BOX, FIELD, REPEAT, CropRule, crop
from hpa_jax.segmentation.instances import Instances


def cells_of(labels):
    return measure_cells(Instances(labels, np.zeros_like(labels)))


def drawn(seed=0, shape=(50, 70), count=9):
    """A random field uint8 [H, W, 4] and a mask int32 [H, W] of discs that cover one another."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        cv2.circle(labels, centre, int(rng.integers(4, 12)), number, -1)
    # A number without a pixel.
    labels[labels == 4] = 0
    return rng.integers(1, 255, (*shape, 4), np.uint8), labels


@pytest.mark.parametrize("keep_neighbours", [False, True])
@pytest.mark.parametrize("window", [24, 25, 90])
def test_a_crop_shows_the_window_pixel_by_pixel(window, keep_neighbours):
    field, labels = drawn()
    for cell in cells_of(labels):
        # At the window's own size nothing is resized.
        rule = CropRule(window, window, keep_neighbours)
        found = crop(field, labels, cell, rule)
        top = (cell.top + cell.bottom - window) // 2
        left = (cell.left + cell.right - window) // 2
        for y in range(0, window, 2):
            for x in range(0, window, 3):
                fy, fx = top + y, left + x
                right = np.zeros(4, np.uint8)
                inside = 0 <= fy < labels.shape[0] and 0 <= fx < labels.shape[1]
                if inside and (keep_neighbours or labels[fy, fx] == cell.cell):
                    right = field[fy, fx]
                assert (found[y, x] == right).all()


def test_a_cell_fills_its_box_and_keeps_its_aspect():
    labels = np.zeros((40, 60), np.int32)
    labels[10:18, 20:52] = 3
    field = np.full((40, 60, 4), 200, np.uint8)
    (cell,) = cells_of(labels)
    found = crop(field, labels, cell, CropRule(64, BOX))
    # Four times as wide as high: it goes from side to side, over a quarter of the height.
    assert (found[32] == 200).all()
    assert (found[:, 32, 0] > 100).sum() == 16
    # At the field's scale a pixel stays a pixel.
    found = crop(field, labels, cell, CropRule(60, FIELD))
    assert (found[..., 0] == 200).sum() == cell.area_px
    # The field is halved, and so is the cell.
    found = crop(field, labels, cell, CropRule(30, FIELD))
    assert (found[..., 0] > 100).sum() == cell.area_px // 4


def test_what_is_larger_than_the_window_is_cut_off():
    labels = np.ones((30, 30), np.int32)
    field = np.arange(30 * 30 * 4, dtype=np.uint32).reshape(30, 30, 4).astype(np.uint8)
    (cell,) = cells_of(labels)
    assert cell.touches_border
    np.testing.assert_array_equal(crop(field, labels, cell, CropRule(10, 10)), field[10:20, 10:20])


def test_a_cell_is_repeated_at_the_scale_of_its_field():
    field, labels = drawn()
    for cell in cells_of(labels):
        # A net of the field's own size: a pixel stays a pixel.
        found = crop(field, labels, cell, CropRule(70, REPEAT))
        box = field[cell.top : cell.bottom, cell.left : cell.right].copy()
        box[labels[cell.top : cell.bottom, cell.left : cell.right] != cell.cell] = 0
        height, width = box.shape[:2]
        top, left = (70 - height) // 2, (70 - width) // 2
        for y in range(0, 70, 3):
            for x in range(0, 70, 3):
                # Mirror images have every other place.
                down, row = divmod(y - top, height)
                across, column = divmod(x - left, width)
                right = box[::-1][row] if down % 2 else box[row]
                right = right[::-1][column] if across % 2 else right[column]
                assert (found[y, x] == right).all()
    halved = crop(field, labels, cells_of(labels)[0], CropRule(35, REPEAT))
    assert halved.shape == (35, 35, 4)
