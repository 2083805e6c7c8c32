"""JPG files: the plane of a channel in colour, dark images, truncated files."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.image_files import (
    PLANES,
    SAMPLE,
    encoded,
    jpg,
    sample,
    smooth,
)
from support.image_rules import ANY, HPAV18

from hpa_jax.images import channel_file
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS


@sample
def test_real_v18_jpgs_under_another_channels_name_are_told():
    path = Path(SAMPLE) / "hpav18_jpg/images"
    rule = HPAV18
    for colour in CHANNELS:
        data = (path / f"800_A6_1_{colour}.jpg").read_bytes()
        for other in CHANNELS:
            if other == colour:
                channel_file.read(data, rule, other)
                continue
            with pytest.raises(
                Refused, match=f"is {colour}, not {other}: channels are swapped; download it again"
            ):
                channel_file.read(data, rule, other)


def swapped_end(data):
    """Cut in the middle with the end put back: what Pillow and OpenCV fill up with gray."""
    return data[: len(data) // 2] + b"\xff\xd9"


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_plane_of_a_jpg(channel):
    gray = smooth((64, 64))
    data = jpg(gray, channel)
    for rule in (HPAV18, ANY):
        read = channel_file.read(data, rule, channel)
        np.testing.assert_array_equal(
            read, np.asarray(Image.open(io.BytesIO(data)))[..., PLANES[channel][0]]
        )
    assert (
        np.abs(read.astype(int) - gray).mean() < 3
    )  # no luma: that would be a third of it, or less
    plain = encoded(gray, "jpeg")
    np.testing.assert_array_equal(
        channel_file.read(plain, HPAV18, channel),
        np.asarray(Image.open(io.BytesIO(plain))),
    )
    as_rgb = encoded(np.stack([gray] * 3, -1), "jpeg")
    np.testing.assert_array_equal(
        channel_file.read(as_rgb, HPAV18, channel),
        np.asarray(Image.open(io.BytesIO(as_rgb)))[..., 0],
    )


@pytest.mark.parametrize("shade", [0, 1, 3, 12, 30])
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_dark_jpg_is_never_refused(channel, shade):
    """In the dark compression mixes the colours."""
    data = jpg(smooth((64, 64), top=shade), channel, quality=30)
    for rule in (HPAV18, ANY):
        assert channel_file.read(data, rule, channel).shape == (64, 64)


def test_a_jpg_cut_in_the_middle_with_its_end_put_back():
    """Pillow and OpenCV give the half of it with the rest gray, and say nothing."""
    data = swapped_end(jpg(smooth((400, 400)), "red"))
    assert np.asarray(Image.open(io.BytesIO(data))).shape == (400, 400, 3)
    with pytest.raises(Refused, match="is damaged .*premature end.*; download it again"):
        channel_file.read(data, HPAV18, "red")
