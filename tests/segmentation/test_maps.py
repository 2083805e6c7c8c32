"""Masks to the maps that a net learns, and back."""

import numpy as np
import pytest
from scipy import ndimage

from hpa_jax.segmentation.from_maps import Thresholds, from_maps
from hpa_jax.segmentation.targets import MAPS, edge_distance, target_maps
from tfds_builder.hpa.synthetic.masks import instance_masks
from tfds_builder.hpa.synthetic.render import cells_of


def masks_of(index, size, vary=False):
    return instance_masks(cells_of(0, index, size, vary))


def blocks(*boxes, size=24):
    """Masks of rectangles (top, bottom, left, right), numbered from 5 in steps of 3, no nuclei."""
    masks = np.zeros((size, size, 2), np.uint16)
    for number, (top, bottom, left, right) in enumerate(boxes):
        masks[top:bottom, left:right, 0] = 5 + 3 * number
    return masks


def exact_edge_distance(mask):
    """By SciPy, one instance after another, each alone in its field."""
    distance = np.zeros(mask.shape)
    for number in np.unique(mask[mask > 0]):
        own = mask == number
        inner = ndimage.minimum_filter(own.astype(int), 3, mode="nearest") > 0
        found = ndimage.distance_transform_edt(inner) + 0.5
        distance[own] = found[own] / found[own].max()
    return distance


@pytest.mark.parametrize("plane", [0, 1])
def test_distances_are_those_of_scipy(plane):
    mask = masks_of(3, 96)[..., plane]
    found = edge_distance(mask)
    # OpenCV's masks of 5 x 5 are within 2 % of Euclid's distance.
    np.testing.assert_allclose(found, exact_edge_distance(mask), atol=0.04)
    assert found.dtype == np.float32 and ((found > 0) == (mask > 0)).all()
    assert all(found[mask == number].max() == 1 for number in np.unique(mask[mask > 0]))


def test_a_field_without_edges():
    assert (edge_distance(np.full((4, 5), 7)) == 1).all()
    assert (edge_distance(np.zeros((4, 5), int)) == 0).all()
    maps = target_maps(np.zeros((4, 5, 2), np.uint16))
    assert maps.shape == (4, 5, len(MAPS)) and not maps.any()
    assert from_maps(maps).count == 0


@pytest.mark.parametrize("vary", [False, True])
@pytest.mark.parametrize(("size", "fields"), [(128, 4), (256, 2), (512, 1)])
def test_perfect_maps_give_the_masks_back(vary, size, fields):
    hits = 0
    cells = 0
    for index in range(fields):
        masks = masks_of(index, size, vary)
        found = from_maps(target_maps(masks))
        for number in np.unique(masks[..., 0])[1:]:
            own = masks[..., 0] == number
            # The instance that has most of it.
            other = found.cells == np.bincount(found.cells[own]).argmax()
            hits += (own & other).sum() > 0.5 * (own | other).sum()
        cells += max(found.count, len(np.unique(masks[..., 0])) - 1)
    assert hits >= 0.96 * cells


def test_numbers_are_contiguous_and_nuclei_have_those_of_their_cells():
    masks = masks_of(1, 128)
    cells, nuclei = from_maps(target_maps(masks))
    assert cells.dtype == nuclei.dtype == np.int32
    assert np.unique(cells).tolist() == list(range(cells.max() + 1))
    assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()
    # Of a cell in mitosis, or one whose nucleus the border has cut off.
    assert 0 < len(np.unique(nuclei)) < len(np.unique(cells))
    # Where two cells touch, a pixel of the edge may go to either.
    assert ((nuclei > 0) != (masks[..., 1] > 0)).mean() < 0.002


def test_touching_cells_with_and_without_nuclei_are_told_apart():
    masks = blocks((2, 20, 2, 10), (2, 20, 10, 20))
    masks[8:14, 4:8, 1] = 5
    found = from_maps(target_maps(masks))
    assert found.count == 2 and set(np.unique(found.nuclei)) == {0, 1}
    for number, own in ((1, 5), (2, 8)):
        assert ((found.cells == number) != (masks[..., 0] == own)).sum() <= 2


def test_a_middle_without_a_peak_is_no_cell():
    maps = target_maps(blocks((2, 20, 2, 10), (2, 20, 10, 20)))
    assert from_maps(maps).count == 2
    # As a lobe of the other one, to which it then belongs.
    maps[:, 10:, 1] *= 0.4
    found = from_maps(maps)
    assert found.count == 1 and (found.cells > 0).sum() == 18 * 18


def test_what_is_too_small_is_no_cell():
    masks = blocks((2, 5, 2, 5), (10, 20, 10, 20))
    assert from_maps(target_maps(masks)).count == 2
    found = from_maps(target_maps(masks), Thresholds(smallest=10))
    assert found.count == 1 and found.cells[15, 15] == 1 and found.cells[3, 3] == 0


def test_other_maps_are_refused():
    with pytest.raises(ValueError, match=r"\[H, W, 4\]"):
        from_maps(np.zeros((8, 8, 2)))
