"""What a file is that is not read here, by its first bytes, so that a message can name it."""

START_BYTES = 512
"""How many of a file's first bytes `kind_of` wants."""

ZIP = "a zip file"
_MICROSOFT = "an old container of Microsoft's, such as ZVI or OIB"

# The first bytes, or those at another place: the most telling first.
_STARTS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"ZISRAWFILE": "a CZI of Zeiss",
    b"\xda\xce\xbe\x0a": "an ND2 of Nikon",
    b"p\x00\x00\x00": "a LIF of Leica",
    b"\x89HDF": "an HDF5 file, such as IMS of Imaris",
    b"\xd0\xcf\x11\xe0": _MICROSOFT,
    b"\x00\x00\x00\x0cjP": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\x00\x00\x00\x0cJXL": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"II\xbc": "a JPEG XR",
    b"IIRO": "a raw file of a camera",
    b"IIU\x00": "a raw file of a camera",
    b"8BPS": "a Photoshop file",
    b"gimp xcf": "a file of GIMP's",
    b"%!PS": "a PostScript file",
    b"%PDF": "a PDF",
    b"\x93NUMPY": "a NumPy array",
    b"MATLAB 5.0": "a MATLAB file",
    b"\x76\x2f\x31\x01": "an OpenEXR",
    b"SIMPLE  =": "a FITS file",
    b"NRRD": "an NRRD file",
    b"\x8aMNG": "an animated PNG (MNG)",
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched",
}
_INSIDE = (
    (4, b"ftyphe", "a HEIC"),
    (4, b"ftypmif1", "a HEIC"),
    (4, b"ftypavif", "an AVIF"),
    (4, b"ftyp", "a video"),
    (8, b"WEBP", "a WebP"),
    (8, b"AVI ", "a video"),
    (96, b"\xa0\xc0", "a DeltaVision file"),
    (96, b"\xc0\xa0", "a DeltaVision file"),
    (128, b"DICM", "a DICOM file"),
    (208, b"MAP ", "an MRC volume"),
    (257, b"ustar", "a tar archive"),
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LEAST_OF_A_TEXT = 4


def kind_of(start: bytes) -> str:
    """What a file that starts like this is, such as "a GIF"; empty if that is not known.

    Args:
      start: its first `START_BYTES`, or all that it has.
    """
    for magic, kind in _STARTS.items():
        if start.startswith(magic):
            return kind
    for place, magic, kind in _INSIDE:
        if start[place:].startswith(magic):
            return kind
    text = start.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if text.startswith(b"<svg") or b"<svg" in text:
        return "an SVG"
    if text.startswith(b"<"):
        return "a web page or other text"
    if len(text) >= _LEAST_OF_A_TEXT and _is_text(text):
        return "a text"
    return ""


def _is_text(start: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start)
