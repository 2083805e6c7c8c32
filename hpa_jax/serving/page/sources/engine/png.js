// Reads PNG exactly: every sample as it stands in the file, 1 to 16 bits, interlaced or not.
//
// A canvas would not do: it has eight bits, converts colours, and shows half of a truncated file.
// Chunks are walked first, each with its checksum; pixels are unpacked after that.

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const PNG_HEADER_BYTES = 33; // signature and IHDR

// By colour type.
const PNG_SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const PNG_COLOURS = { 0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA" };
const PNG_DEPTHS = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

// First column and row of each pass of an interlaced file, and the steps to the next.
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];
const WHOLE = [[0, 0, 1, 1]];

function isPng(bytes) {
  return PNG_SIGNATURE.every((value, i) => bytes[i] === value);
}

// {format, width, height, bits, colour, planes}: one plane a sample, the raw values row by row. Of a
// palette that is the number of the shade: the value itself where the palette is a ramp of one colour.
async function decodePng(bytes) {
  const chunks = walkPng(bytes);
  const header = parsePngHeader(bytes);
  if (chunks.has("acTL")) {
    throw new Refused("is animated; save the image that is meant as a plain PNG");
  }
  for (const note of chunks.get("eXIf") ?? []) checkUpright(note);
  const { width, height, bits } = header;
  const colour = pngColour(header, chunks);
  const samples = await pngSamples(header, chunks.get("IDAT") ?? []);
  return { format: "PNG", width, height, bits, colour, planes: separate(samples, header.samples) };
}

function pngColour({ colour, bits }, chunks) {
  if (chunks.has("tRNS")) return `${colour} with a transparent shade`;
  const [palette] = chunks.get("PLTE") ?? [];
  const isGray = colour === "palette" && palette?.length === 3 * 2 ** bits && isRamp(palette);
  return isGray ? "gray in a palette" : colour;
}

// Whether a palette shows each number as that much of one colour, as tables of ImageJ do.
function isRamp(palette) {
  const last = palette.length / 3 - 1;
  let isLit = false;
  for (const colour of [0, 1, 2]) {
    const shades = palette.filter((_, i) => i % 3 === colour);
    if (!shades.some((shade) => shade > 0)) continue;
    if (!shades.every((shade, number) => shade === Math.floor((number * 255) / last))) return false;
    isLit = true;
  }
  return isLit;
}

function parsePngHeader(bytes) {
  if (bytes.length < PNG_HEADER_BYTES) {
    throw new Refused(`is cut short: ${bytes.length} bytes; ${AGAIN}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const [bits, type, compression, filter, interlace] = bytes.subarray(24, 29);
  const isKnown = PNG_DEPTHS[type]?.includes(bits) && !compression && !filter && interlace <= 1;
  if (view.getUint32(8) !== 13 || chunkName(bytes, 12) !== "IHDR" || !isKnown) {
    throw new Refused(`has a damaged PNG header; ${AGAIN}`);
  }
  checkPixels(width, height);
  return {
    width,
    height,
    bits,
    type,
    interlaced: interlace === 1,
    samples: PNG_SAMPLES[type],
    colour: PNG_COLOURS[type],
  };
}

// Contents of the chunks by name, up to the end chunk.
function walkPng(bytes) {
  parsePngHeader(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const chunks = new Map();
  let at = PNG_SIGNATURE.length;
  while (at + 12 <= bytes.length) {
    const length = view.getUint32(at);
    const end = at + 8 + length;
    if (end + 4 > bytes.length) break;
    if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw new Refused(`is damaged: wrong checksum of its chunk at byte ${at}; ${AGAIN}`);
    }
    const name = chunkName(bytes, at + 4);
    if (name === "IEND") return chunks;
    if (!chunks.has(name)) chunks.set(name, []);
    chunks.get(name).push(bytes.subarray(at + 8, end));
    at = end + 4;
  }
  throw new Refused(`is cut short: it has no end chunk; ${AGAIN}`);
}

function chunkName(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

// All samples of the image in their order.
async function pngSamples(header, parts) {
  const { width, height, bits, samples } = header;
  const bitsPerPixel = bits * samples;
  const passes = [];
  let length = 0;
  for (const [x0, y0, dx, dy] of header.interlaced ? ADAM7 : WHOLE) {
    const columns = Math.ceil((width - x0) / dx);
    const rows = Math.ceil((height - y0) / dy);
    if (columns <= 0 || rows <= 0) continue;
    const rowBytes = Math.ceil((columns * bitsPerPixel) / 8);
    passes.push({ x0, y0, dx, dy, columns, rows, rowBytes });
    length += rows * (1 + rowBytes); // each row begins with the number of its filter
  }
  const packed = await inflate(parts, length);
  if (packed === null) {
    throw new Refused(`is damaged: its pixel data do not decode; ${AGAIN}`);
  }
  const output = new (bits === 16 ? Uint16Array : Uint8Array)(width * height * samples);
  let start = 0;
  for (const pass of passes) {
    const end = start + pass.rows * (1 + pass.rowBytes);
    const rows = packed.subarray(start, end);
    unfilter(rows, pass.rows, pass.rowBytes, Math.max(1, bitsPerPixel >> 3));
    place(rows, pass, header, output);
    start = end;
  }
  return output;
}

// Undoes the prediction of each byte from its neighbours, in place.
function unfilter(data, rows, rowBytes, step) {
  const stride = rowBytes + 1;
  for (let y = 0; y < rows; y++) {
    const start = y * stride + 1;
    const end = start + rowBytes;
    const isFirst = y === 0;
    switch (data[start - 1]) {
      case 0:
        break;
      case 1:
        for (let i = start + step; i < end; i++) data[i] += data[i - step];
        break;
      case 2:
        if (isFirst) break;
        for (let i = start; i < end; i++) data[i] += data[i - stride];
        break;
      case 3:
        for (let i = start; i < end; i++) {
          const left = i < start + step ? 0 : data[i - step];
          const above = isFirst ? 0 : data[i - stride];
          data[i] += (left + above) >> 1;
        }
        break;
      case 4:
        for (let i = start; i < end; i++) {
          const isLeftmost = i < start + step;
          const left = isLeftmost ? 0 : data[i - step];
          const above = isFirst ? 0 : data[i - stride];
          const corner = isFirst || isLeftmost ? 0 : data[i - stride - step];
          data[i] += paeth(left, above, corner);
        }
        break;
      default:
        throw new Refused(`is damaged: its pixel data do not decode; ${AGAIN}`);
    }
  }
}

function paeth(left, above, corner) {
  const guess = left + above - corner;
  const fromLeft = Math.abs(guess - left);
  const fromAbove = Math.abs(guess - above);
  const fromCorner = Math.abs(guess - corner);
  if (fromLeft <= fromAbove && fromLeft <= fromCorner) return left;
  return fromAbove <= fromCorner ? above : corner;
}

// Puts the rows of a pass where they belong.
function place(data, pass, header, output) {
  const { width, bits, samples } = header;
  const mask = (1 << bits) - 1;
  for (let row = 0; row < pass.rows; row++) {
    const start = row * (pass.rowBytes + 1) + 1;
    const line = (pass.y0 + row * pass.dy) * width;
    for (let column = 0; column < pass.columns; column++) {
      const target = (line + pass.x0 + column * pass.dx) * samples;
      for (let sample = 0; sample < samples; sample++) {
        const number = column * samples + sample;
        let value;
        if (bits === 8) {
          value = data[start + number];
        } else if (bits === 16) {
          value = (data[start + 2 * number] << 8) | data[start + 2 * number + 1];
        } else {
          const bit = number * bits;
          value = (data[start + (bit >> 3)] >> (8 - bits - (bit & 7))) & mask;
        }
        output[target + sample] = value;
      }
    }
  }
}

function separate(samples, count) {
  if (count === 1) return [samples];
  const planes = [];
  for (let plane = 0; plane < count; plane++) {
    const values = new samples.constructor(samples.length / count);
    for (let i = 0; i < values.length; i++) values[i] = samples[i * count + plane];
    planes.push(values);
  }
  return planes;
}
