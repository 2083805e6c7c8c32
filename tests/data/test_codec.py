"""Both codecs are lossless on every bit depth, and any other bytes end in a ValueError."""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import google_crc32c
import numpy as np
import pytest
import zstandard
from PIL import Image

from hpa_jax.data import codec
from tfds_builder.hpa.synthetic.render import render

CODECS = pytest.mark.parametrize("name", codec.CODECS)
DEPTHS = [(np.uint8, bits) for bits in (1, 2, 4, 8)] + [
    (np.uint16, bits) for bits in (1, 8, 10, 12, 14, 16)
]
SHAPES = [(1, 1), (1, 37), (37, 1), (2, 3), (15, 16), (16, 17), (17, 8), (64, 65), (129, 70)]


def _noise(shape, dtype, bits, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << bits, (*shape, 4)).astype(dtype)


def _gradients(shape, dtype):
    """Down, along, both and with noise: each channel smooth in its own way, and wrapping around."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] * 977
    noise = np.random.default_rng(1).integers(0, 3, shape)
    return np.stack(
        [rows, columns, rows + columns, rows * 3 + columns // 2 + noise], axis=-1
    ).astype(dtype)


def _filters(data):
    return struct.unpack_from("<8sIIB7x" + 4 * "IB3x", data)[5::2]


def _same(image, name):
    data = codec.encode(image, name)
    decoded = codec.decode(data)
    assert decoded.dtype == image.dtype and decoded.shape == image.shape and decoded.flags.writeable
    np.testing.assert_array_equal(decoded, image)
    assert codec.read_size(data[: codec.HEAD_BYTES]) == image.shape[:2]
    return data


@CODECS
@pytest.mark.parametrize("dtype,bits", DEPTHS)
def test_noise_of_every_bit_depth_and_size(name, dtype, bits):
    for shape in SHAPES:
        _same(_noise(shape, dtype, bits), name)
    _same(
        _noise((64, 64), dtype, bits) << (8 * np.dtype(dtype).itemsize - bits), name
    )  # the high bits instead


@CODECS
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_constant_gradients_and_views(name, dtype):
    for shape in SHAPES:
        for value in (0, 1, np.iinfo(dtype).max):
            _same(np.full((*shape, 4), value, dtype), name)
        _same(_gradients(shape, dtype), name)
    image = _gradients((40, 50), dtype)
    assert codec.encode(image[::2, ::-1], name) == codec.encode(image[::2, ::-1].copy(), name)
    _same(np.asfortranarray(image), name)


@CODECS
def test_odd_size_at_scale(name):
    rng = np.random.default_rng(2)
    smooth = cv2.GaussianBlur(rng.integers(0, 65536, (513, 511, 4)).astype(np.uint16), (0, 0), 5)
    _same(smooth, name)
    _same((smooth >> 8).astype(np.uint8), name)


def test_every_filter_is_chosen_and_undone():
    rng, side = np.random.default_rng(0), (200, 200)
    walk = rng.integers(-2, 3, side).cumsum(axis=0) + rng.integers(
        0, 256, 200
    )  # down each column, from anywhere
    both = rng.integers(-1, 2, side).cumsum(axis=0).cumsum(axis=1)
    image = np.stack([rng.integers(0, 256, side), walk, walk.T, both], axis=-1)
    for dtype in (np.uint8, np.uint16):
        assert _filters(_same(image.astype(dtype), "zstd")) == (0, 1, 2, 3)


@CODECS
def test_synthetic_image(name):
    _same(render(0, 0, (0, 2, 25), 96), name)


@CODECS
@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_real_images_and_their_bytes(name):
    """zstd stays within 1.05 of the four source PNGs on each image, and below them in all."""
    folder = Path(os.environ["HPA_SAMPLE_DIR"], "kaggle_512", "train")
    stored, sources = [], []
    for red in sorted(folder.glob("*_red.png"))[::12]:
        paths = [
            red.with_name(red.name.replace("_red", f"_{c}"))
            for c in ("red", "green", "blue", "yellow")
        ]
        image = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths], axis=-1)
        stored.append(len(_same(image, name)))
        sources.append(sum(path.stat().st_size for path in paths))
    if name == "zstd":
        assert max(np.divide(stored, sources)) <= 1.05 and sum(stored) <= sum(sources)


@CODECS
def test_same_bytes_on_any_thread(name):
    images = [_noise((33, 31), np.uint8, 5, seed) for seed in range(40)]
    first = [codec.encode(image, name) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda image: codec.encode(image, name), images)) == first
        for image, decoded in zip(images, pool.map(codec.decode, first), strict=True):
            np.testing.assert_array_equal(decoded, image)


@CODECS
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_decodes_into_an_array_that_fits(name, dtype):
    image = _gradients((20, 30), dtype)
    data = codec.encode(image, name)
    batch = np.zeros((3, 20, 30, 4), dtype)
    decoded = codec.decode(data, out=batch[1])
    assert np.shares_memory(decoded, batch)
    np.testing.assert_array_equal(batch, [0 * image, image, 0 * image])
    others = {np.dtype(np.uint8): np.uint16, np.dtype(np.uint16): np.uint8}
    for other in (
        batch[1, :19],
        batch[1].astype(others[batch.dtype]),
        np.zeros((20, 60, 4), dtype)[:, ::2],
    ):
        before = other.copy()
        np.testing.assert_array_equal(codec.decode(data, out=other), image)
        np.testing.assert_array_equal(other, before)


@CODECS
def test_every_truncation_and_every_flipped_bit_is_found(name):
    data = codec.encode(_noise((5, 6), np.uint8, 3), name)
    for end in range(len(data)):
        with pytest.raises(ValueError):
            codec.decode(data[:end])
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            codec.decode(bytes(damaged))
    for junk in (data + b"\0", data + data, b"\0", b"no image" * 9, data[::-1]):
        with pytest.raises(ValueError):
            codec.decode(junk)


def _resealed(data: bytes) -> bytes:
    """With a right checksum again, so that damage gets as far as the decoder."""
    return data[:-4] + struct.pack("<I", google_crc32c.value(data[:-4]))


def test_zstd_forged_behind_a_right_checksum():
    """Damage behind a right checksum ends in a ValueError or an image of the claimed size."""
    rng = np.random.default_rng(0)
    for dtype in (np.uint8, np.uint16):
        data = codec.encode(_gradients((24, 20), dtype), "zstd")
        refused = 0
        for _ in range(1500):
            forged = bytearray(data)
            for at in rng.integers(8, len(data) - 4, rng.integers(1, 4)):
                forged[at] = rng.integers(256)
            forged = _resealed(bytes(forged[: len(data) - rng.integers(0, 2) * 7]))
            try:
                size = codec.read_size(forged[: codec.HEAD_BYTES])
                assert codec.decode(forged).shape == (*size, 4)
            except ValueError:
                refused += 1
        assert refused > 500


def _zstd(height, width, sample, frames, filters=(0, 0, 0, 0)):
    entries = [
        value
        for frame, chosen in zip(frames, filters, strict=True)
        for value in (len(frame), chosen)
    ]
    head = struct.pack(
        "<8sIIB7x" + 4 * "IB3x", b"\x89HPAZ\r\n\x01", height, width, sample, *entries
    )
    return _resealed(head + b"".join(frames) + b"\0\0\0\0")


def test_zstd_bombs_and_contradictions():
    """Memory is taken only for what a credible size needs."""
    right = [zstandard.compress(bytes(64))] * 4
    assert codec.decode(_zstd(8, 8, 1, right)).max() == 0
    bomb = zstandard.compress(bytes(1 << 26))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64))
    for data in (
        _zstd(8, 8, 1, [bomb, *right[1:]]),
        _zstd(8, 8, 1, [right[0] + right[0], *right[1:]]),
        _zstd(8, 8, 1, [right[0] + b"\0", *right[1:]]),
        _zstd(8, 8, 1, [unsized, *right[1:]]),
        _zstd(8, 8, 1, [b"", *right[1:]]),
        _zstd(8, 8, 1, [*right[1:], right[0][:-2]]),
        _zstd(8, 8, 2, right),
        _zstd(8, 8, 3, right),
        _zstd(8, 8, 1, right, (0, 0, 0, 4)),
        _zstd(0, 8, 1, right),
        _zstd(2**32 - 1, 2**32 - 1, 1, right),
        _zstd(4097, 4096, 1, [zstandard.compress(bytes(4097 * 4096))] * 4),
        _resealed(_zstd(8, 8, 1, right)[:-20]),
    ):
        with pytest.raises(ValueError):
            codec.decode(data)


def _png(*chunks):
    parts = [
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_png_forged_with_right_checksums():
    """OpenCV is told nothing but intact chunks: what they hold may still be wrong."""
    raw = zlib.compress(bytes(33 * 8))  # 8 rows of filter 0 and 8 pixels
    head, end = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 6, 0, 0, 0)), (b"IEND", b"")
    assert codec.decode(_png(head, (b"IDAT", raw), end)).shape == (8, 8, 4)
    for data in (
        _png(head, end),
        _png(head, (b"IDAT", raw)),
        _png(head, (b"IDAT", raw[:-6]), end),
        _png(head, (b"IDAT", zlib.compress(bytes(33 * 4))), end),
        _png(head, (b"IDAT", raw), end) + b"more",
        _png((b"IDAT", raw), head, end),
        _png((b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 6, 0, 0, 0)), (b"IDAT", raw), end),
        _png((b"IHDR", struct.pack(">IIBBBBB", 0, 8, 8, 6, 0, 0, 0)), (b"IDAT", raw), end),
        cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes(),
        cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes(),
        cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes(),
    ):
        with pytest.raises(ValueError):
            codec.decode(data)


def test_png_is_what_others_read():
    image = _noise((9, 7), np.uint8, 8)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(codec.encode(image, "png")))), image
    )


def test_size_of_heads():
    for name in codec.CODECS:
        data = codec.encode(_noise((3, 5), np.uint16, 9), name)
        assert codec.read_size(data) == codec.read_size(data[: codec.HEAD_BYTES]) == (3, 5)
        assert (
            codec.read_size(data[:7])
            == codec.read_size(b"x" + data)
            == codec.read_size(b"")
            == codec.read_size(data[:12])
            == (0, 0)
        )


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4, 4)),
        np.zeros((0, 4, 4), np.uint8),
    ],
)
def test_what_is_no_image_is_not_encoded(image):
    for name in codec.CODECS:
        with pytest.raises(ValueError):
            codec.encode(image, name)
    with pytest.raises(ValueError, match="choose one of png, zstd"):
        codec.encode(np.zeros((4, 4, 4), np.uint8), "qoi")
