// Which format a file has, by its first bytes and not by its name.

const OTHER_FORMATS = [
  ["II*\0", "a TIFF"],
  ["MM\0*", "a TIFF"],
  ["II+\0", "a BigTIFF"],
  ["MM\0+", "a BigTIFF"],
  ["GIF8", "a GIF"],
  ["BM", "a BMP"],
  ["PK\x03\x04", "a zip file"],
  ["7z\xbc\xaf", "a 7z archive"],
  ["\x1f\x8b", "a gzip file"],
  ["ZISRAWFILE", "a CZI of Zeiss"],
  ["\xda\xce\xbe\x0a", "an ND2 of Nikon"],
  ["p\0\0\0", "a LIF of Leica"],
  ["\x89HDF", "an HDF5 file"],
  ["\xd0\xcf\x11\xe0", "an old container of Microsoft's, such as ZVI or OIB"],
  ["\0\0\0\x0cjP", "a JPEG 2000"],
  ["\xff\x4f\xff\x51", "a JPEG 2000"],
  ["\0\0\0\x0cJXL", "a JPEG XL"],
  ["\xff\x0a", "a JPEG XL"],
  ["RIFF", "a WebP"],
  ["%PDF", "a PDF"],
  ["\x93NUMPY", "a NumPy array"],
  ["\x76\x2f\x31\x01", "an OpenEXR"],
  ["<", "a web page or other text"],
];

async function decodeImage(bytes) {
  if (bytes.length === 0) {
    throw new Refused(`is empty (0 bytes); ${AGAIN}`);
  }
  if (isPng(bytes)) return decodePng(bytes);
  if (isJpg(bytes)) return decodeJpg(bytes);
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  const found = OTHER_FORMATS.find(([magic]) => start.startsWith(magic));
  if (found === undefined) {
    throw new Refused(`is not a PNG or JPEG; ${AGAIN} as one`);
  }
  const [, name] = found;
  const other = name.endsWith("TIFF")
    ? " of the same depth (ImageJ: File, Save As, PNG), or have it read by hpa_jax.serving predict"
    : "";
  throw new Refused(`is not a PNG or JPEG but ${name}; save it as a PNG${other}`);
}
