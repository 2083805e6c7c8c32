"""Label images of this program and of others, and what is none."""

import cv2
import numpy as np
import pytest
import tifffile

from hpa_jax.errors import InputError
from hpa_jax.segmentation.label_image import FORMATS, read_labels
from hpa_jax.segmentation.mask_folder import MaskFolder

LABELS = np.array([[0, 0, 5, 5], [300, 300, 0, 70]], np.int32)


@pytest.mark.parametrize("suffix", FORMATS)
def test_written_label_images_are_read_by_us_and_by_others(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(FORMATS[suffix](LABELS))
    assert np.array_equal(read_labels(path, 2, 4), LABELS)
    by_others = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert by_others.dtype == np.uint16
    assert np.array_equal(by_others, LABELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_tiffs_of_others(tmp_path, dtype):
    labels = np.minimum(LABELS, 120).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels, compression="zlib", bigtiff=dtype == np.uint32)
    assert np.array_equal(read_labels(tmp_path / "a.tif", 2, 4), labels)


def test_a_png_of_eight_bits(tmp_path):
    labels = np.minimum(LABELS, 120).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    assert np.array_equal(read_labels(tmp_path / "a.png", 2, 4), labels)


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        read_labels(path, 2, 4)
    text = str(error.value)
    assert "\n" not in text and text.startswith(str(path))
    return text


def test_what_is_no_label_image_is_refused_by_name(tmp_path):
    png = tmp_path / "a.png"
    tif = tmp_path / "a.tif"
    cv2.imwrite(str(png), np.zeros((2, 4, 3), np.uint8))
    assert "is RGB, no label image" in refused(png)
    cv2.imwrite(str(png), np.zeros((4, 2), np.uint8))
    assert "is 2 x 4 px and its field 4 x 2" in refused(png)
    cv2.imwrite(str(png), np.where(LABELS > 0, 255, 0).astype(np.uint8))
    assert "black and white (0 and 255)" in refused(png)
    png.write_bytes(png.read_bytes()[:-20])
    assert "cut short" in refused(png)
    png.write_bytes(b"GIF89a")
    assert "neither PNG nor TIFF" in refused(png)
    assert "cannot be read" in refused(tmp_path / "none.png")
    tifffile.imwrite(tif, np.zeros((2, 4, 3), np.uint8), photometric="rgb")
    assert "is RGB, no label image" in refused(tif)
    tifffile.imwrite(tif, np.zeros((5, 2, 4), np.uint16), photometric="minisblack")
    assert "several planes" in refused(tif)
    tifffile.imwrite(tif, LABELS + np.float32(0.5))
    assert "has fractions" in refused(tif)
    tifffile.imwrite(tif, -LABELS)
    assert "from -300 to 0" in refused(tif)
    tifffile.imwrite(tif, LABELS.astype(np.float64))
    assert "of type float64" in refused(tif)
    tifffile.imwrite(tif, LABELS, compression="zlib")
    tif.write_bytes(tif.read_bytes()[:-4])
    assert "does not decode" in refused(tif)


def test_masks_are_found_by_the_names_that_programs_give(tmp_path):
    nuclei = np.array([[0, 0, 8, 0], [9, 0, 0, 0]], np.uint16)
    for name in ("a_cp_masks.png", "b_predictedmask.png", "c.png", "deep/d_cells.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), LABELS.astype(np.uint16))
    cv2.imwrite(str(tmp_path / "a_nuclei.png"), nuclei)
    masks = MaskFolder(tmp_path)
    for image_id in ("a", "b", "c", "d", "deep/d"):
        found = masks.read(image_id, 2, 4)
        assert found.cells.tolist() == [[0, 0, 1, 1], [3, 3, 0, 2]]
    assert masks.read("a", 2, 4).nuclei.tolist() == [[0, 0, 1, 0], [3, 0, 0, 0]]
    assert masks.read("b", 2, 4).nuclei.sum() == 0
    with pytest.raises(InputError, match="no masks of 'e'"):
        masks.read("e", 2, 4)
    (tmp_path / "a_cp_masks.tif").write_bytes(b"")
    with pytest.raises(InputError, match="leave one of them there"):
        MaskFolder(tmp_path).read("a", 2, 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no folder with label images"):
        MaskFolder(tmp_path / "empty")
