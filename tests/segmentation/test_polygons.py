"""Polygons cover what the masks cover; QuPath's fields are there; outlines lie on the cells."""

import json

import cv2
import numpy as np
from skimage.draw import polygon2mask

from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.contours import contours
from hpa_jax.segmentation.geojson import to_geojson
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.outlines import draw_outlines


def blob(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(60, 80))
    return cv2.GaussianBlur(noise, (0, 0), 4) > 0.02


def covered(polygons: list, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in GeoJSON polygons, bool [H, W]."""
    inside = np.zeros(shape, bool)
    for outline, *holes in polygons:
        of_one = polygon2mask(shape, np.array(outline)[:, ::-1] - 0.5)
        for hole in holes:
            of_one &= ~polygon2mask(shape, np.array(hole)[:, ::-1] - 0.5)
        inside |= of_one
    return inside


def test_polygons_with_holes_and_several_pieces_cover_the_mask():
    for seed in range(4):
        mask = blob(seed)
        mask[28:32, 38:42] = seed % 2 == 0
        pieces = contours(mask, 0, 0, tolerance=0)
        polygons = [[piece.outline, *piece.holes] for piece in pieces]
        assert np.array_equal(covered(polygons, mask.shape), mask)
    one = contours(np.ones((2, 3), bool), 10, 20, tolerance=0)[0].outline
    assert one.min(axis=0).tolist() == [10, 20] and one.max(axis=0).tolist() == [13, 22]
    assert len(contours(np.ones((1, 1), bool), 0, 0)[0].outline) >= 4


def two_cells() -> Instances:
    cells = np.zeros((60, 80), np.int32)
    cv2.circle(cells, (25, 30), 14, 1, -1)
    cv2.circle(cells, (70, 20), 15, 2, -1)
    nuclei = np.zeros_like(cells)
    cv2.circle(nuclei, (25, 30), 6, 1, -1)
    return Instances(cells, nuclei)


def test_cells_are_measured():
    first, second = measure_cells(two_cells())
    assert (first.left, first.top, first.right, first.bottom) == (11, 16, 40, 45)
    assert (first.centroid_x, first.centroid_y) == (25.5, 30.5)
    assert (first.touches_border, second.touches_border) == (0, 1)
    assert first.area_px == (two_cells().cells == 1).sum()
    assert first.nucleus_area_px == (two_cells().nuclei == 1).sum()
    assert second.nucleus_area_px == 0


def test_geojson_is_what_qupath_reads():
    instances = two_cells()
    collection = json.loads(json.dumps(to_geojson(instances, "a"), allow_nan=False))
    assert collection["type"] == "FeatureCollection"
    first, second = collection["features"]
    for number, feature in enumerate((first, second), start=1):
        assert feature["type"] == "Feature" and len(feature["id"]) == 36
        assert feature["properties"]["objectType"] == "cell"
        area = (instances.cells == number).sum()
        assert feature["properties"]["measurements"]["Cell: Area px^2"] == area
        ring = feature["geometry"]["coordinates"][0]
        assert feature["geometry"]["type"] == "Polygon" and ring[0] == ring[-1]
        inside = covered([[ring]], instances.cells.shape)
        mask = instances.cells == number
        assert (inside & mask).sum() / (inside | mask).sum() > 0.97
    assert first["properties"]["classification"]["name"] == "Cell"
    assert second["properties"]["classification"]["name"] == "Cell at the border"
    assert first["nucleusGeometry"]["type"] == "Polygon"
    assert "nucleusGeometry" not in second
    assert first["id"] == to_geojson(instances, "a")["features"][0]["id"]
    assert first["id"] != to_geojson(instances, "b")["features"][0]["id"]


def test_outlines_are_drawn_on_the_cells():
    picture = draw_outlines(np.zeros((60, 80, 4), np.uint8), two_cells())
    white = (picture == 255).all(axis=2)
    cyan = (picture == (0, 255, 255)).all(axis=2)
    assert white[30, 11] and white[30, 39] and not white[30, 25]
    assert cyan[30, 19] and cyan.sum() < white.sum()
    large = draw_outlines(np.zeros((2000, 3072, 4), np.uint8), Instances(*[two_cells().cells] * 2))
    assert large.shape == (667, 1024, 3)
