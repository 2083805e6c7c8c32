"""Pictures of images: previews, and activation maps laid over the channels."""

import base64

import cv2
import numpy as np

from hpa_jax.report.pictures import (
    HEIGHT,
    LINE_WIDTH,
    PANELS,
    SIDE,
    WIDTH,
    make_preview,
    overlay_strip,
    preview_panels,
    spread_heat,
    stretch_contrast,
)


def test_false_colors_and_the_protein_alone():
    # Twice as high as wide: black is left on both sides.
    image = np.zeros((2 * SIDE, SIDE, 4), np.uint8)
    image[:SIDE] = (200, 0, 0, 100)
    image[SIDE:] = (0, 120, 255, 0)
    shown = preview_panels(image)
    assert shown.shape == (HEIGHT, SIDE, 3) and not shown[:SIDE, : SIDE // 4].any()
    assert shown[10, SIDE // 2].tolist() == [255, 127, 0]
    assert shown[SIDE - 10, SIDE // 2].tolist() == [0, 255, 255]
    assert shown[HEIGHT - 10, SIDE // 2].tolist() == [255] * 3
    assert not shown[HEIGHT - SIDE + 10, SIDE // 2].any()


def test_an_empty_channel_stays_dark_and_is_named():
    image = np.random.default_rng(0).integers(0, 6, (64, 64, 4), np.uint8)
    image[:20, :20, 0] = 255
    found = make_preview(image)
    assert found.empty == ("green", "blue", "yellow") and found.saturated == ("red",)
    assert stretch_contrast(image)[..., 1:].max() <= 36


def test_a_preview_is_a_picture_of_its_image():
    image = np.zeros((300, 300, 4), np.uint8)
    cv2.circle(image, (150, 150), 80, (30, 255, 0, 60), -1)
    data = base64.b64decode(make_preview(image).uri.partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[..., ::-1].astype(int) - preview_panels(image)).mean() < 4


def test_heat_lies_where_the_net_looked_and_on_the_channels_alone():
    image = np.full((64, 64, 4), 60, np.uint8)
    image[:2, :2] = 255
    heat = np.zeros((4, 4), np.float32)
    heat[3, 0] = 7.0  # below, left
    strip = overlay_strip(image, heat).astype(int)
    assert strip.shape == (SIDE, WIDTH, 3)
    plain = overlay_strip(image, np.zeros((4, 4))).astype(int)
    # The false colours have no heat.
    assert (strip[:, :SIDE] == plain[:, :SIDE]).all()
    for panel in range(1, PANELS):
        left = panel * (SIDE + LINE_WIDTH)
        heated = strip[:, left : left + SIDE]
        bare = plain[:, left : left + SIDE]
        assert heated[-4, 4, 0] > heated[-4, 4, 2] + 60
        assert bare[-4, 4, 0] == bare[-4, 4, 2]
        assert (heated[:40, 60:] == bare[:40, 60:]).all()


def test_heat_on_an_image_that_is_no_square_lies_on_the_image():
    spread = spread_heat(np.ones((3, 3)), (50, 100))
    assert spread.shape == (SIDE, SIDE) and spread.max() == 1
    assert not spread[: SIDE // 4].any() and not spread[-SIDE // 4 :].any()
    assert spread[SIDE // 2].all()
    assert not spread_heat(np.zeros((2, 2)), (8, 8)).any()
