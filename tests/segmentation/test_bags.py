"""A field's cells as a batch of fixed size."""

import numpy as np
from support.drawn_cells import SHAPE, mask

from hpa_jax.images.resize import fit_square
from hpa_jax.segmentation.bags import cell_bag
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.crops import BOX, CropRule, crop
from hpa_jax.segmentation.numbering import pair

FIELD = np.random.default_rng(0).integers(0, 255, (*SHAPE, 4), np.uint8)
RULE = CropRule(16, BOX)


def test_whole_cells_come_first_and_places_that_are_left_repeat_them():
    # The second of three lies at the border.
    instances = pair(np.roll(mask(), 4, axis=0) + 0)
    cells = measure_cells(instances)
    border = [cell for cell in cells if cell.touches_border]
    whole = [cell for cell in cells if not cell.touches_border]
    assert border and whole
    right = [crop(FIELD, instances.cells, cell, RULE) for cell in (*whole, *border)]
    count = len(right)
    crops, is_cell = cell_bag(FIELD, instances, RULE, 2 * count + 1)
    assert crops.shape == (2 * count + 1, 16, 16, 4) and crops.dtype == np.uint8
    np.testing.assert_array_equal(is_cell, np.arange(2 * count + 1) < count)
    for place, found in enumerate(crops):
        np.testing.assert_array_equal(found, right[place % count])
    crops, is_cell = cell_bag(FIELD, instances, RULE, 1)
    np.testing.assert_array_equal(crops[0], right[0])
    assert is_cell.tolist() == [True]


def test_a_field_without_a_cell_is_one():
    crops, is_cell = cell_bag(FIELD, pair(mask(())), RULE, 3)
    np.testing.assert_array_equal(crops[0], fit_square(FIELD, 16, "pad"))
    assert is_cell.tolist() == [True, False, False]
