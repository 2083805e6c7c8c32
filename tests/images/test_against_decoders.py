"""Random images, written and read by other programs: tifffile, Pillow, OpenCV, imagecodecs."""

import io
import itertools

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.awkward_files import eight, written
from support.image_files import encoded, smooth
from support.image_rules import ANY
from support.written_files import SHORT, png, png_chunk, tiff

from hpa_jax.images import channel_file, formats, image_file
from hpa_jax.images.rule import any_image
from hpa_jax.images.store import Refused

ORDER = ("red", "green", "blue", "yellow")
PACKED = (None, "lzw", "zlib", "packbits", "zstd")
PREDICTED = ("lzw", "zlib", "zstd")
PLACED = ({}, {"rowsperstrip": 7}, {"tile": (16, 48)})


def raw_planes(data, rule=ANY):
    """The values in a file, before they become eight bits."""
    header = formats.scan_bytes(data, rule)
    wanted = range(header.description.planes)
    return [plane.copy() for plane in formats.planes(data, header, wanted, "max")]


def random_image(rng, top, samples=0):
    """Noise in one half, an even area in the other, for both kinds of runs that codecs have."""
    shape = (int(rng.integers(1, 60)), int(rng.integers(1, 70)))
    image = rng.integers(0, top + 1, (*shape, samples) if samples else shape)
    image[: shape[0] // 2] = image[0, 0]
    return image.astype(np.uint8 if top < 256 else np.uint16)


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("top", [255, 65535])
def test_gray_tiffs(packing, top):
    rng = np.random.default_rng(top)
    for placed, order, big in itertools.product(PLACED, "<>", (False, True)):
        for predictor in (False, True) if packing in PREDICTED else (False,):
            image = random_image(rng, top)
            options = {"byteorder": order, "bigtiff": big, "predictor": predictor, **placed}
            data = written(image, compression=packing, **options)
            (plane,) = raw_planes(data)
            np.testing.assert_array_equal(plane, image)
            np.testing.assert_array_equal(plane, tifffile.imread(io.BytesIO(data)))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("packing", PACKED)
def test_tiffs_of_several_samples(packing, planar):
    rng = np.random.default_rng(4)
    for placed, samples, top in itertools.product(PLACED, (2, 4, 5), (255, 65535)):
        image = random_image(rng, top, samples)
        stored = image if planar == "contig" else np.moveaxis(image, -1, 0)
        predictor = packing in PREDICTED
        data = written(
            stored,
            photometric="minisblack",
            planarconfig=planar,
            compression=packing,
            predictor=predictor,
            extrasamples=["unspecified"] * (samples - 1),
            **placed,
        )
        np.testing.assert_array_equal(np.dstack(raw_planes(data)), image)


@pytest.mark.parametrize(
    ("method", "pack"),
    [
        (5, imagecodecs.lzw_encode),
        (8, imagecodecs.zlib_encode),
        (32773, imagecodecs.packbits_encode),
        (50000, imagecodecs.zstd_encode),
    ],
)
@pytest.mark.parametrize("rows", [3, 4, 7])
def test_a_last_strip_as_long_as_the_others(method, pack, rows):
    """As some programs write it; of any other length it is damaged."""
    image = smooth((10, 33))
    padded = np.pad(image, ((0, 4), (0, 0)))
    strips = [padded[top : top + 4].tobytes() for top in (0, 4)]
    strips.append(padded[8 : 8 + rows].tobytes())
    tags = [(259, SHORT, (method,)), (278, SHORT, (4,))]
    data = tiff([pack(strip) for strip in strips], image.shape, 8, tags)
    if rows == 4:
        (plane,) = raw_planes(data)
        np.testing.assert_array_equal(plane, image)
    else:
        with pytest.raises(Refused, match="is damaged: wrong checksum or length"):
            raw_planes(data)


@pytest.mark.parametrize("packing", [None, "lzw", "zlib", "zstd"])
def test_floating_point_tiffs(packing):
    rng = np.random.default_rng(5)
    rule = any_image(float_range=(-1.5, 2.25))
    for placed, order in itertools.product(PLACED, "<>"):
        image = rng.normal(size=(31, 45)).astype(np.float32)
        predictor = 3 if packing else 1
        data = written(image, compression=packing, byteorder=order, predictor=predictor, **placed)
        (plane,) = raw_planes(data, rule)
        np.testing.assert_array_equal(plane, image)
        read = channel_file.read_plane(data, rule, "green")
        fraction = np.clip((image.astype(np.float64) + 1.5) / 3.75, 0, 1)
        np.testing.assert_array_equal(read.pixels, np.floor(fraction * 255 + 0.5))
        assert read.largest == image.max()


@pytest.mark.parametrize("order", "<>")
def test_floating_point_colours_as_differences(order):
    image = np.random.default_rng(6).normal(size=(31, 45, 3)).astype(np.float32)
    rule = any_image(float_range=(0, 1))
    data = written(image, photometric="rgb", compression="zlib", predictor=3, byteorder=order)
    np.testing.assert_array_equal(np.dstack(raw_planes(data, rule)), image)
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(opencv[..., ::-1], image)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_tiffs_of_odd_depths(bits):
    """As tifffile packs them, and reads them again."""
    rng = np.random.default_rng(bits)
    for width in (8, 21, 48):
        image = rng.integers(0, 2**bits, (19, width)).astype(np.uint8 if bits <= 8 else np.uint16)
        rows = [imagecodecs.packints_encode(row, bits) for row in image]
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(
                iter([b"".join(rows)]),
                shape=image.shape,
                dtype=image.dtype,
                bitspersample=bits,
                rowsperstrip=19,
                photometric="minisblack",
            )
        (plane,) = raw_planes(file.getvalue())
        np.testing.assert_array_equal(plane, image)


@pytest.mark.parametrize(
    ("photometric", "subsampling"),
    [("ycbcr", (1, 1)), ("ycbcr", (2, 2)), ("rgb", None), ("minisblack", None)],
)
def test_jpeg_inside_a_tiff(photometric, subsampling):
    """Its tables are kept apart from its strips, and its colours are stored either way."""
    image = np.dstack([smooth((64, 80), seed=seed) for seed in range(3)])
    if photometric == "minisblack":
        image = image[..., 0]
    data = written(
        image,
        photometric=photometric,
        compression="jpeg",
        compressionargs={"level": 95},
        subsampling=subsampling,
        tile=(32, 32),
    )
    read = np.squeeze(np.dstack(raw_planes(data)))
    other = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_allclose(read.astype(int), tifffile.imread(io.BytesIO(data)), atol=1)
    np.testing.assert_allclose(read.astype(int), other, atol=1)


def test_jpeg_inside_a_tiff_with_colours_as_they_are():
    """As slide scanners write it: red, green and blue, which nobody may convert."""
    image = np.dstack([smooth((64, 80), seed=seed) for seed in range(3)])
    stream = imagecodecs.jpeg_encode(image, level=98, colorspace="rgb", outcolorspace="rgb")
    tags = [
        (258, SHORT, (8,) * 3),
        (259, SHORT, (7,)),
        (262, SHORT, (2,)),
        (277, SHORT, (3,)),
    ]
    data = tiff([stream], image.shape[:2], 8, tags)
    read = np.dstack(raw_planes(data)).astype(int)
    np.testing.assert_allclose(read, tifffile.imread(io.BytesIO(data)), atol=1)
    np.testing.assert_allclose(read, np.asarray(Image.open(io.BytesIO(data))), atol=1)
    assert np.abs(read - image).mean() < 2


@pytest.mark.parametrize("top", [255, 65535])
@pytest.mark.parametrize("samples", [0, 3, 4])
def test_pngs(samples, top):
    rng = np.random.default_rng(samples)
    for _ in range(20):
        image = random_image(rng, top, samples)
        data = imagecodecs.png_encode(image)
        read = np.squeeze(np.dstack(raw_planes(data)), axis=() if samples else 2)
        np.testing.assert_array_equal(read, image)
        np.testing.assert_array_equal(read, imagecodecs.png_decode(data))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("lit", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_pngs_in_a_palette_of_one_colour(lit, bits):
    """As ImageJ saves a channel that is shown in a colour; any other palette is refused."""
    rng = np.random.default_rng(bits)
    image = rng.integers(0, 2**bits, (17, 21))
    palette = np.zeros((2**bits, 3), np.uint8)
    palette[:, lit] = (np.arange(2**bits) * 255 // (2**bits - 1))[:, None]
    chunk = png_chunk(b"PLTE", palette.tobytes())
    data = png(image, bits, colour_type=3, before=chunk)
    read = channel_file.read_plane(data, ANY, "green")
    np.testing.assert_array_equal(read.pixels, eight(image, 2**bits - 1))
    assert read.largest == image.max()
    palette[-1, lit] = 7
    other = png(image, bits, colour_type=3, before=png_chunk(b"PLTE", palette.tobytes()))
    with pytest.raises(Refused, match="is palette, not gray; save the channel's own plane"):
        channel_file.read_plane(other, ANY, "green")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_jpgs(options):
    rng = np.random.default_rng(6)
    for size in (9, 64, 130):
        image = np.dstack([smooth((size, size + 3), seed=size + seed) for seed in range(3)])
        image = np.clip(image + rng.integers(0, 20, image.shape), 0, 255).astype(np.uint8)
        data = encoded(image, "jpeg", quality=85, **options)
        read = image_file.read_image(data, ANY, None)
        assert read.channels == ("red", "green", "blue")
        pixels = read.pixels[..., :3]
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))
        opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_allclose(pixels.astype(int), opencv, atol=1)
        assert not read.pixels[..., 3].any()


@pytest.mark.parametrize("packing", PACKED)
def test_a_file_with_the_channels_as_pages_planes_or_samples(packing):
    rng = np.random.default_rng(7)
    planes = rng.integers(0, 65536, (4, 33, 29)).astype(np.uint16)
    stacked = np.moveaxis(planes, 0, -1)
    gray = {"photometric": "minisblack", "compression": packing}
    files = {
        "pages": written(planes, **gray),
        "planes": written(planes, planarconfig="separate", **gray),
        "samples": written(stacked, planarconfig="contig", **gray),
    }
    for name, data in files.items():
        read = image_file.read_image(data, ANY, ORDER)
        np.testing.assert_array_equal(read.pixels, eight(stacked, 65535), err_msg=name)
        assert read.channels == ORDER and read.largest == planes.max()
