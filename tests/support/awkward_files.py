"""Files as microscopes and people write them, each to be read exactly or refused in one line.

Whoever takes in images runs these through its own door. What is right is what a rule for images of
any origin (`hpa_jax.images.rule.any_image()`) makes of them as the green channel's own file.
"""

import io
import struct
import zlib
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from support.image_files import coloured, encoded, jpg, smooth
from support.written_files import ASCII, LONG, SHORT, exif, packed_bits, png, png_chunk, tiff

SHAPE = (40, 48)


class Awkward(NamedTuple):
    """A file.

    Attributes:
      name: what is awkward about it; a file name, with spaces.
      data: the file.
      pixels: uint8 [H, W] if it is to be read, None if it is to be refused.
      words: that the refusal has; empty if it is to be read.
    """

    name: str
    data: bytes
    pixels: np.ndarray | None
    words: str = ""


def awkward_files() -> list[Awkward]:
    """All of them, in a fixed order, the same at each call."""
    return [*_pngs(), *_jpgs(), *_tiffs(), *_odd_tiffs(), *_refused_tiffs(), *_refused_others()]


def eight(values, white):
    """uint8 of min(255, value * 255 / white), rounded half up."""
    return np.minimum(np.floor(values / white * 255 + 0.5), 255).astype(np.uint8)


def written(image, **options):
    """A TIFF by tifffile."""
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def _pngs():
    gray = smooth(SHAPE, seed=1)
    deep = smooth(SHAPE, seed=2, top=65535)
    two = smooth(SHAPE, seed=3, top=3)
    note = png_chunk(b"tEXt", b"Comment\0" + bytes(range(1, 200)))
    return [
        Awkward("1 bit.png", png(gray >> 7, 1), eight(gray >> 7, 1)),
        Awkward("2 bits.png", png(two, 2), eight(two, 3)),
        Awkward("4 bits.png", png(gray >> 4, 4), eight(gray >> 4, 15)),
        Awkward("16 bits.png", png(deep, 16), eight(deep, 65535)),
        Awkward("8 bits, interlaced.PNG", png(gray, 8, interlaced=True), gray),
        Awkward("16 bits, interlaced.png", png(deep, 16, interlaced=True), eight(deep, 65535)),
        Awkward("2 bits, interlaced.png", png(two, 2, interlaced=True), eight(two, 3)),
        Awkward("in eleven pieces, with a comment.png", png(gray, 8, before=note, pieces=11), gray),
        Awkward("green in a palette.png", _in_a_png_palette(gray, 8), gray),
        Awkward("2 bits in a palette.png", _in_a_png_palette(two, 2), eight(two, 3)),
        Awkward("green in RGB.png", encoded(coloured(gray, "green"), "png"), gray),
        Awkward("upright by EXIF.png", png(gray, 8, before=png_chunk(b"eXIf", exif(1))), gray),
    ]


def _in_a_png_palette(image, bits):
    shades = np.arange(2**bits) * 255 // (2**bits - 1)
    palette = np.stack([0 * shades, shades, 0 * shades], axis=-1).astype(np.uint8)
    return png(image, bits, colour_type=3, before=png_chunk(b"PLTE", palette.tobytes()))


def _jpgs():
    gray = smooth(SHAPE, seed=4)
    baseline = encoded(gray, "jpeg", quality=90)
    progressive = encoded(gray, "jpeg", quality=90, progressive=True)
    green = jpg(gray, "green", subsampling=0)
    return [
        Awkward("gray, baseline.jpg", baseline, _by_pillow(baseline)),
        Awkward("gray, progressive.JPEG", progressive, _by_pillow(progressive)),
        Awkward("green in colour.jpg", green, _by_pillow(green)[..., 1]),
        Awkward("with bytes behind its end.jpg", baseline + bytes(99), _by_pillow(baseline)),
    ]


def _by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def _tiffs():
    gray = smooth(SHAPE, seed=5)
    deep = smooth(SHAPE, seed=6, top=65535)
    camera = smooth(SHAPE, seed=7, top=4095)
    right = eight(deep, 65535)
    of_camera = eight(camera, 4095)
    in_jpeg = written(gray, compression="jpeg", compressionargs={"level": 95}, rowsperstrip=16)
    tiles = {"tile": (16, 32)}
    said = {"metadata": {"axes": "YX", "SignificantBits": 12}, "ome": True}
    return [
        Awkward("BigTIFF.btf", written(deep, bigtiff=True), right),
        Awkward("big endian.tif", written(deep, byteorder=">"), right),
        Awkward(
            "BigTIFF, big endian, zstd.tif",
            written(deep, byteorder=">", bigtiff=True, compression="zstd", rowsperstrip=7),
            right,
        ),
        Awkward("LZW.TIF", written(gray, compression="lzw", rowsperstrip=9), gray),
        Awkward(
            "LZW, differences, big endian.tif",
            written(deep, compression="lzw", predictor=2, byteorder=">"),
            right,
        ),
        Awkward(
            "deflate, tiles, differences.tif",
            written(deep, compression="zlib", predictor=2, **tiles),
            right,
        ),
        Awkward("PackBits.tif", written(gray, compression="packbits", rowsperstrip=5), gray),
        Awkward("zstd, tiles.tif", written(gray, compression="zstd", **tiles), gray),
        Awkward("JPEG inside.tif", in_jpeg, tifffile.imread(io.BytesIO(in_jpeg))),
        Awkward("OME with 12 bits.ome.tif", written(camera, **said), of_camera),
        Awkward("ImageJ.tif", written(deep, imagej=True, resolution=(12.5, 12.5)), right),
        Awkward(
            "12 bits in 16.tif",
            tiff([camera.tobytes()], SHAPE, 16, [(281, SHORT, (4095,))]),
            of_camera,
        ),
        Awkward(
            "12 bits in 16, by the younger tag.tif",
            tiff([camera.tobytes()], SHAPE, 16, [(341, SHORT, (4095,))]),
            of_camera,
        ),
        Awkward(
            "12 bits, packed.tif",
            tiff([b"".join(packed_bits(row, 12, ">") for row in camera)], SHAPE, 12),
            of_camera,
        ),
        Awkward("with a copy of half size.tif", _with_a_small_page(deep), right),
        Awkward("a copy alone.tif", written(deep, subfiletype=1), right),
        Awkward("with a mask.tif", _with_a_mask(deep), right),
        Awkward("with a pyramid.ome.tif", _with_a_pyramid(deep), right),
        Awkward("green in a palette.tif", _in_a_palette(gray), gray),
        Awkward("green in RGB, planes apart.tif", _planes_apart(deep), right),
    ]


def _with_a_small_page(image):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(image)
        writer.write(image[::2, ::2], subfiletype=1)
    return file.getvalue()


def _with_a_mask(image):
    """Of a kind that is refused as an image: LZMA, white as 0."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(image)
        mask = image[::2] > 99
        writer.write(mask, subfiletype=4, photometric="miniswhite", compression="lzma")
    return file.getvalue()


def _with_a_pyramid(image):
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(image, subifds=1, metadata={"axes": "YX"})
        writer.write(image[::2, ::2], subfiletype=1)
    return file.getvalue()


def _in_a_palette(image):
    """As ImageJ writes a channel that is shown in green."""
    shades = np.zeros((3, 256), np.uint16)
    shades[1] = np.arange(256) * 257
    return written(image, photometric="palette", colormap=shades)


def _planes_apart(image):
    planes = np.zeros((3, *image.shape), image.dtype)
    planes[1] = image
    return written(planes, photometric="rgb", planarconfig="separate")


def _odd_tiffs():
    deep = smooth(SHAPE, seed=8, top=65535)
    gray = smooth(SHAPE, seed=9)
    right = eight(deep, 65535)
    strip = [deep.tobytes()]
    reversed_bits = imagecodecs.bitorder_encode(deep.tobytes())
    return [
        Awkward("no lengths.tif", tiff(strip, SHAPE, 16, without=(279,)), right),
        Awkward("length too large.tif", tiff(strip, SHAPE, 16, [(279, LONG, (10**6,))]), right),
        Awkward("length 0.tif", tiff(strip, SHAPE, 16, [(279, LONG, (0,))]), right),
        Awkward("orientation 0.tif", tiff(strip, SHAPE, 16, [(274, SHORT, (0,))]), right),
        Awkward(
            "lowest bit first.tif",
            tiff([reversed_bits], SHAPE, 16, [(266, SHORT, (2,))]),
            right,
        ),
        Awkward(
            "three depths for one.tif", tiff(strip, SHAPE, 16, [(258, SHORT, (16,) * 3)]), right
        ),
        Awkward("no samples a pixel.tif", tiff(strip, SHAPE, 16, without=(277,)), right),
        Awkward("no rows a strip.tif", tiff(strip, SHAPE, 16, without=(278,)), right),
        Awkward(
            "all rows in a strip of 4 billion.tif",
            tiff([gray.tobytes()], SHAPE, 8, [(278, LONG, (2**32 - 1,))]),
            gray,
        ),
        Awkward(
            "one row a strip, one strip.tif", tiff(strip, SHAPE, 16, [(278, LONG, (1,))]), right
        ),
        Awkward("one length for four strips.tif", _four_strips(deep, (99,)), right),
        Awkward("lengths of four strips too large.tif", _four_strips(deep, (9999,) * 4), right),
        Awkward("LZW, no length.tif", _packed(deep, 5, imagecodecs.lzw_encode, (279,)), right),
        Awkward("deflate, no length.tif", _packed(deep, 8, imagecodecs.zlib_encode, (279,)), right),
        Awkward("orientation 9.tif", tiff(strip, SHAPE, 16, [(274, SHORT, (9,))]), right),
        Awkward("with 5 kB behind.tif", tiff(strip, SHAPE, 16, behind=bytes(5000)), right),
        Awkward(
            "its own largest value.tif",
            tiff(strip, SHAPE, 16, [(281, SHORT, (int(deep.max()) - 1,))]),
            right,
        ),
    ]


def _packed(image, method, pack, without):
    tags = [(259, SHORT, (method,))]
    return tiff([pack(image.tobytes())], SHAPE, 16, tags, without=without)


def _four_strips(image, lengths):
    strips = [image[top : top + 10].tobytes() for top in range(0, 40, 10)]
    return tiff(strips, SHAPE, 16, [(279, LONG, lengths)])


def _refused_tiffs():
    gray = smooth(SHAPE, seed=10)
    deep = smooth(SHAPE, seed=11, top=65535)
    four = np.stack([smooth(SHAPE, seed=seed) for seed in range(4)])
    strip = [gray.tobytes()]
    half = zlib.compress(gray.tobytes()[: gray.size // 2])
    bomb = zlib.compress(bytes(2**24))
    damaged = bytearray(written(gray, compression="zlib"))
    damaged[-60] ^= 16
    differences = np.diff(gray, axis=1, prepend=np.uint8(0))
    imagej = b"ImageJ=1.54f\nimages=9\nslices=9\n\0"
    entities = b'<!DOCTYPE OME [<!ENTITY a "a">]><OME>&a;</OME>\0'
    white = [(281, SHORT, (4095,))]
    return [
        _refused("numbers with a fraction.tif", written(deep / np.float32(9)), "floating-point"),
        _refused("signed.tif", written(deep.astype(np.int16)), "is of signed numbers"),
        _refused("32 bits.tif", written(deep.astype(np.uint32)), "has 32 bits a pixel"),
        _refused("two pages.tif", written(four[:2]), "has more than one page"),
        _refused("z-stack.tif", written(four, imagej=True, metadata={"axes": "ZYX"}), "a z-stack"),
        _refused(
            "z-stack.ome.tif",
            written(four, ome=True, metadata={"axes": "ZYX"}),
            "is a z-stack of 4",
        ),
        _refused(
            "four channels.ome.tif",
            written(four, ome=True, metadata={"axes": "CYX"}),
            "holds 4 channels",
        ),
        _refused(
            "a film.ome.tif", written(four, ome=True, metadata={"axes": "TYX"}), "has 4 time points"
        ),
        _refused("rotated.tif", tiff(strip, SHAPE, 8, [(274, SHORT, (6,))]), "tag Orientation"),
        _refused(
            "white is 0.tif", tiff(strip, SHAPE, 8, [(262, SHORT, (0,))]), "stores white as 0"
        ),
        _refused(
            "PackBits of differences.tif",
            tiff(
                [imagecodecs.packbits_encode(differences, axis=1)],
                SHAPE,
                8,
                [(259, SHORT, (32773,)), (317, SHORT, (2,))],
            ),
            "tag Predictor 2",
        ),
        _refused("next page nowhere.tif", tiff(strip, SHAPE, 8, following=10**9), "its next page"),
        _refused(
            "pages in a circle.tif",
            tiff(strip, SHAPE, 8, following=8 + gray.size),
            "form a circle",
        ),
        _refused(
            "four strips, two of them nowhere.tif",
            tiff(
                [gray.tobytes()],
                SHAPE,
                8,
                [(273, LONG, (8, 0, 488, 0)), (278, LONG, (10,)), (279, LONG, (480, 0, 480, 0))],
            ),
            "leaves out some of its strips",
        ),
        _refused("LZMA.tif", written(gray, compression="lzma"), "is packed by method 34925 (LZMA)"),
        _refused("a flipped bit.tif", bytes(damaged), "is damaged: wrong checksum"),
        _refused("half a strip.tif", tiff([half], SHAPE, 8, [(259, SHORT, (8,))]), "is damaged"),
        _refused("a bomb.tif", tiff([bomb], SHAPE, 8, [(259, SHORT, (8,))]), "is damaged"),
        _refused("cut short.tif", written(gray)[:-999], "is cut short"),
        _refused("no directory.tif", written(gray)[:4] + bytes(4), "; "),
        _refused("65535 wide.tif", tiff(strip, SHAPE, 8, [(256, LONG, (65535,))]), "is cut short"),
        _refused(
            "nine planes, one page.tif", tiff(strip, SHAPE, 8, [(270, ASCII, imagej)]), "9 planes"
        ),
        _refused("entities.ome.tif", tiff(strip, SHAPE, 8, [(270, ASCII, entities)]), "OME-XML"),
        _refused(
            "brighter than its white.tif",
            tiff([deep.tobytes()], SHAPE, 16, white),
            "says that 4095 is white",
        ),
        _refused("of two sizes.tif", _of_two_sizes(gray), "pages of different sizes"),
        _refused(
            "magenta and green.tif",
            written(np.dstack([four[0], four[1], four[0]])),
            "shows several channels at once",
        ),
    ]


def _refused(name, data, words):
    return Awkward(name, data, None, words)


def _of_two_sizes(image):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(image)
        writer.write(image[::2, ::2])
    return file.getvalue()


def _refused_others():
    gray = smooth(SHAPE, seed=12)
    whole = png(gray, 8)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    picture = encoded(gray, "jpeg")
    turned = picture[:2] + _segment(0xE1, b"Exif\0\0" + exif(6)) + picture[2:]
    frames = png_chunk(b"acTL", struct.pack(">II", 2, 0))
    large = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    claims = whole[:8] + large + whole[33:]
    return [
        _refused("mirrored by EXIF.jpg", turned, "EXIF orientation 6"),
        _refused("mirrored by EXIF.png", png(gray, 8, before=png_chunk(b"eXIf", exif(2))), "EXIF"),
        _refused("animated.png", png(gray, 8, before=frames), "is animated"),
        _refused("one bit flipped.png", bytes(flipped), "wrong checksum"),
        _refused("cut short.png", whole[:-20], "is cut short"),
        _refused("60000 pixels wide.png", claims, "claims 60000 x 60000 pixels"),
        _refused("transparent.png", encoded(np.dstack([gray] * 4), "png"), "is RGBA, not gray"),
        _refused("in a palette.png", _palette_png(gray), "is palette, not gray"),
        _refused("CMYK.jpg", _cmyk(gray), "is CMYK, not gray"),
        _refused("cut, with the end put back.jpg", picture[:500] + b"\xff\xd9", "is damaged"),
        _refused("a GIF.png", encoded(gray, "gif"), "but a GIF"),
        _refused("a BMP.tif", encoded(gray, "bmp"), "but a BMP"),
        _refused("a WebP.jpg", cv2.imencode(".webp", gray)[1].tobytes(), "but a WebP"),
        _refused("of Zeiss.tif", b"ZISRAWFILE" + bytes(500), "but a CZI"),
        _refused("a log-in page.png", b"<!doctype html><title>log in</title>", "a web page"),
        _refused("empty.png", b"", "is empty"),
        _refused("zeros.tif", bytes(4000), "is not a PNG, TIFF or JPEG"),
    ]


def _segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _cmyk(image):
    file = io.BytesIO()
    Image.fromarray(np.dstack([image] * 4), mode="CMYK").save(file, "jpeg")
    return file.getvalue()


def _palette_png(image):
    """Of many colours, each for a value."""
    file = io.BytesIO()
    picture = Image.fromarray(image).convert("P")
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    picture.save(file, "png")
    return file.getvalue()
