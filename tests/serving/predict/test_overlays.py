"""Pictures of what a net looked at: the right labels, tinted where the map is."""

import cv2
import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.serving.predict.overlays import Overlays, file_name, shown_labels

DESCRIPTION = {
    "labels": [{"id": k, "name": name} for k, name in enumerate(["Nucleoli", "Zytösol", "ER"])],
    "thresholds": [0.5, 0.2, 0.5],
    "empty": "no label",
}


def test_decided_labels_are_shown_the_surest_first():
    assert shown_labels(DESCRIPTION, np.array([0.9, 0.8, 0.1], np.float32)) == [1, 0]
    assert shown_labels(DESCRIPTION, np.array([0.9, 0.8, 0.6], np.float32)) == [1, 0, 2]
    # None is decided: the one that came nearest.
    assert shown_labels(DESCRIPTION, np.array([0.3, 0.19, 0.1], np.float32)) == [1]


def test_a_picture_has_a_panel_for_each_label_tinted_where_its_map_is(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (256, 256, 4), np.uint8)
    maps = np.zeros((8, 8, 3), np.float32)
    maps[1, 1, 0] = 1  # upper left
    maps[6, 6, 1] = 1  # lower right
    overlays = Overlays(tmp_path / "new" / "pictures", tmp_path / "images", DESCRIPTION)
    overlays.write("plate 1/A", pixels, np.array([0.9, 0.8, 0.1], np.float32), maps)
    (path,) = (tmp_path / "new" / "pictures").glob("*.png")
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    assert picture.shape == (256 + 24, 3 * 256 + 2 * 4, 3)
    # The surest first: label 1, whose map is at the lower right.
    for left, corner in ((260, (208, 208)), (520, (48, 48))):
        panel = picture[24:, left : left + 256]
        orange = panel[..., 0] - panel[..., 2]
        y, x = corner
        assert orange[y - 8 : y + 8, x - 8 : x + 8].mean() > 100
        away = 255 - y
        assert orange[away - 8 : away + 8, away - 8 : away + 8].mean() < 5
        caption = picture[:24, left : left + 256]
        assert caption.max() == 255


def test_a_folder_of_anything_else_is_left_alone(tmp_path):
    images = tmp_path / "images"
    Overlays(tmp_path / "a", images, DESCRIPTION)
    Overlays(tmp_path / "a", images, DESCRIPTION)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "A1.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="is not empty and not of this program"):
        Overlays(tmp_path / "b", images, DESCRIPTION)
    # The next call would take pictures for images.
    with pytest.raises(InputError, match="in the folder of the images"):
        Overlays(images / "plate 1" / "seen", images, DESCRIPTION)
    assert not images.exists()


def test_names_are_safe_and_no_two_are_the_same():
    names = [file_name(one) for one in ("a", "a/b", "a b", "../a", "ä", "", "x" * 300, "a.b")]
    assert len(set(names)) == len(names)
    assert names[0] == "a.png"
    for name in names:
        assert name.endswith(".png") and "/" not in name and not name.startswith(".")
        assert len(name) < 120 and name.isascii()
