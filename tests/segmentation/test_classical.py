"""Cells of drawn fields, of any size and brightness, and nothing where there is nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.image_files import SAMPLE, sample

from hpa_jax.images.folder import find_images
from hpa_jax.segmentation.classical import segment
from hpa_jax.segmentation.enlarge import enlarge
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.mask_folder import MaskFolder
from hpa_jax.segmentation.measures import add_matches, match, overlaps
from hpa_jax.segmentation.numbering import pair, renumber
from tfds_builder.hpa.synthetic.render import cells_of, render


def drawn(size: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic field and the number of the cell that covers each pixel."""
    return render(0, index, [0], size), cells_of(0, index, size).owner + 1


def check(instances: Instances, shape: tuple[int, int]) -> None:
    """What `Instances` promises."""
    cells, nuclei = instances
    assert cells.shape == nuclei.shape == shape
    assert cells.dtype == nuclei.dtype == np.int32
    assert set(np.unique(cells)) - {0} == set(range(1, instances.count + 1))
    has_nucleus = nuclei > 0
    assert np.array_equal(nuclei[has_nucleus], cells[has_nucleus])
    for number in range(1, instances.count + 1):
        pieces, _ = cv2.connectedComponents((cells == number).astype(np.uint8), connectivity=4)
        assert pieces == 2
        assert (nuclei == number).any()


def test_cells_of_drawn_fields_are_found():
    counts = []
    for index in range(3):
        field, truth = drawn(128, index)
        found = segment(field)
        check(found, (128, 128))
        counts.append(match(overlaps(truth, found.cells), 0.5))
    # 0.79 of twelve fields; an untuned watershed has 0.38.
    assert add_matches(counts).average_precision > 0.65


def test_size_shape_and_brightness_do_not_matter():
    field, truth = drawn(128, 0)
    field = field[:, 4:]
    truth = truth[:, 4:]
    plain = segment(field)
    assert match(overlaps(truth, plain.cells), 0.5).average_precision > 0.55
    large = np.ascontiguousarray(np.kron(field, np.ones((9, 9, 1), np.uint8)))
    found = segment(large)
    check(found, (1152, 1116))
    small = found.cells[4::9, 4::9]
    assert match(overlaps(plain.cells, small), 0.5).average_precision > 0.9
    dim = segment(field // 8)
    assert match(overlaps(plain.cells, dim.cells), 0.5).average_precision > 0.8


def test_without_red_and_yellow_a_cell_is_its_nucleus_with_a_margin():
    field, _ = drawn(128, 1)
    full = segment(field)
    field[..., [0, 3]] = 0
    found = segment(field)
    check(found, (128, 128))
    assert np.array_equal(found.nuclei, full.nuclei)
    assert (full.nuclei > 0).sum() < (found.cells > 0).sum() < (full.cells > 0).sum()


@pytest.mark.parametrize("kind", ["black", "white", "noise", "one pixel"])
def test_nothing_where_there_is_nothing(kind):
    rng = np.random.default_rng(0)
    fields = {
        "black": np.zeros((40, 90, 4), np.uint8),
        "white": np.full((40, 90, 4), 255, np.uint8),
        "noise": rng.poisson(6, (200, 220, 4)).astype(np.uint8),
        "one pixel": np.full((1, 1, 4), 9, np.uint8),
    }
    found = segment(fields[kind])
    assert found.count == 0
    assert found.cells.shape == fields[kind].shape[:2]


def rim(mask: np.ndarray) -> float:
    """Length of a mask's outline in pixels; steps make it longer."""
    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.arcLength(rings[0], True)


def test_masks_are_enlarged_without_blocks():
    y, x = np.mgrid[:30, :37]
    labels = np.zeros((30, 37), np.int32)
    labels[(y - 12) ** 2 + (x - 11) ** 2 < 81] = 1
    labels[(y - 15) ** 2 + (x - 25) ** 2 < 50] = 2
    large = enlarge(labels, 300, 370)
    blocks = np.kron(labels, np.ones((10, 10), np.int32))
    assert match(overlaps(blocks, large), 0.9).average_precision == 1
    assert rim(large == 1) < 0.9 * rim(blocks == 1)
    assert np.array_equal(enlarge(labels, 30, 37), labels)


def test_nuclei_are_paired_with_the_cells_that_they_lie_in():
    cells = np.array([[7, 7, 7, 0, 40, 40, 9]])
    nuclei = np.array([[5, 0, 5, 2, 2, 2, 0]])
    found = pair(cells, nuclei)
    assert found.cells.tolist() == [[1, 1, 1, 0, 3, 3, 2]]
    assert found.nuclei.tolist() == [[1, 0, 1, 0, 3, 3, 0]]
    outside = np.array([[0, 0, 0, 5, 0, 0, 0]])
    assert pair(cells, outside).nuclei.sum() == 0
    assert pair(cells).nuclei.sum() == 0
    assert renumber(np.array([[3, 9]])).tolist() == [[1, 2]]


@pytest.mark.slow
@sample
def test_real_fields_agree_with_a_peers_masks():
    """Those of the Atlas's segmenter, for two fields of 2048 and 3072 px."""
    folder = Path(SAMPLE) / "full_size" / "images"
    images = find_images(folder)
    masks = MaskFolder(folder)
    counts = []
    for number, image_id in enumerate(images.ids):
        if not (folder / f"{image_id}_predictedmask.png").exists():
            continue
        field, _ = images.read(number)
        found = segment(field)
        check(found, field.shape[:2])
        theirs = masks.read(image_id, *field.shape[:2])
        counts.append(match(overlaps(theirs.cells, found.cells), 0.5))
    # 0.933.
    assert len(counts) == 2
    assert add_matches(counts).average_precision >= 0.85
