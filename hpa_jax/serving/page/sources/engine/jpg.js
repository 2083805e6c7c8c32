// Reads JPG with the browser's decoder, after a look at its header and its end.
//
// JPG has no checksum, and a decoder fills what is missing with gray: a file without its end marker
// is refused before it is decoded.

// Start-of-frame markers that are read: baseline, extended, progressive. Others of the range are
// lossless or arithmetic, and three start no frame.
const JPG_FRAMES = [0xc0, 0xc1, 0xc2];
const JPG_NO_FRAMES = [0xc4, 0xc8, 0xcc];
const JPG_OUT_OF_PLACE = [0xd8, 0xd9, 0xda]; // start, end and scan, before any frame
const JPG_NOTES = 0xe1;
const JPG_COLOURS = { 1: "gray", 3: "RGB", 4: "CMYK" };
const JPG_TAIL = 4096; // bytes at the end among which the end marker is looked for

function isJpg(bytes) {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

// As `decodePng`; eight bits.
async function decodeJpg(bytes) {
  const header = parseJpgHeader(bytes);
  if (!hasEndMarker(bytes)) {
    throw new Refused(`is cut short: it has no end marker; ${AGAIN}`);
  }
  if (header.colour !== "gray" && header.colour !== "RGB") {
    throw new Refused(`is ${header.colour}, not gray; ${SAVE_GRAY}`);
  }
  const pixels = await browserPixels(bytes);
  const { width, height } = pixels;
  const planes = separate(pixels.data, 4).slice(0, header.colour === "gray" ? 1 : 3);
  return {
    format: "JPEG",
    width,
    height,
    bits: 8,
    colour: header.colour,
    planes: planes.map((plane) => new Uint8Array(plane)),
  };
}

function parseJpgHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 2;
  try {
    for (;;) {
      if (view.getUint8(at) !== 0xff) {
        throw new Refused(`has a damaged header; ${AGAIN}`);
      }
      // Any number of fill bytes may precede a marker.
      while (view.getUint8(at) === 0xff) at++;
      const marker = view.getUint8(at);
      const length = view.getUint16(at + 1);
      const isFrame = marker >= 0xc0 && marker <= 0xcf && !JPG_NO_FRAMES.includes(marker);
      if (isFrame) return parseJpgFrame(view, at + 3, marker);
      if (JPG_OUT_OF_PLACE.includes(marker) || length < 2) {
        throw new Refused(`has a damaged header; ${AGAIN}`);
      }
      if (marker === JPG_NOTES) checkJpgNotes(bytes.subarray(at + 3, at + 1 + length));
      at += 1 + length;
    }
  } catch (error) {
    if (error instanceof RangeError) {
      throw new Refused(`is cut short in its header; ${AGAIN}`);
    }
    throw error;
  }
}

function checkJpgNotes(notes) {
  const isExif = String.fromCharCode(...notes.subarray(0, 6)) === "Exif\0\0";
  if (isExif) checkUpright(notes.subarray(6));
}

function parseJpgFrame(view, at, marker) {
  const bits = view.getUint8(at);
  const height = view.getUint16(at + 1);
  const width = view.getUint16(at + 3);
  const components = view.getUint8(at + 5);
  if (!JPG_FRAMES.includes(marker)) {
    throw new Refused("is a JPG of a rare kind (lossless or arithmetic); save it as a plain one");
  }
  if (bits !== 8) {
    throw new Refused(`has ${bits} bits a pixel, which no browser shows; save it as a PNG`);
  }
  checkPixels(width, height);
  return { width, height, colour: JPG_COLOURS[components] ?? `of ${components} components` };
}

function hasEndMarker(bytes) {
  for (let i = bytes.length - 2; i >= Math.max(0, bytes.length - JPG_TAIL); i--) {
    if (bytes[i] === 0xff && bytes[i + 1] === 0xd9) return true;
  }
  return false;
}

async function browserPixels(bytes) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }), {
      // What is in the file, not what a screen would show of it.
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Refused(`is damaged: its pixel data do not decode; ${AGAIN}`);
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
