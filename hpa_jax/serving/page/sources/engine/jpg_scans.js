// Whether the compressed data of a JPG are complete: a browser's decoder fills what is missing or
// broken with gray and says nothing.
//
// The codes of each scan are walked without computing a pixel: they have to be those of its Huffman
// tables, to last for all of its blocks, and to end where its data end. The codes of a refining scan
// of a progressive file depend on which coefficients are not zero so far: those are kept.

const JPG_MARKERS = { tables: 0xc4, end: 0xd9, scan: 0xda, interval: 0xdd };
const BLOCK = 8;
const LAST_COEFFICIENT = 63;
const LONGEST_RUN_OF_ZEROS = 15;

class BrokenScan extends Error {}

// bytes: a JPG whose header was read.
function checkJpgScans(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const state = { tables: new Map(), frame: null, interval: 0 };
  let at = 2;
  try {
    for (;;) {
      while (view.getUint8(at) === 0xff) at++;
      const marker = view.getUint8(at);
      if (marker === JPG_MARKERS.end) return;
      const start = at + 3;
      const next = at + 1 + view.getUint16(at + 1);
      if (marker === JPG_MARKERS.tables) {
        readHuffmanTables(bytes.subarray(start, next), state.tables);
      } else if (JPG_FRAMES.includes(marker)) {
        state.frame = readJpgFrame(view, start, marker);
      } else if (marker === JPG_MARKERS.interval) {
        state.interval = view.getUint16(start);
      }
      at = marker === JPG_MARKERS.scan ? walkScan(bytes, start, next, state) : next;
      if (view.getUint8(at) !== 0xff) throw new BrokenScan();
    }
  } catch (error) {
    if (error instanceof BrokenScan || error instanceof RangeError) {
      throw new Refused(`is damaged: its pixel data do not decode; ${AGAIN}`);
    }
    throw error;
  }
}

// For each 16 bits that may follow: the length of the code that they begin with, and its symbol.
function readHuffmanTables(body, tables) {
  let at = 0;
  while (at < body.length) {
    const kind = body[at];
    const lengths = body.subarray(at + 1, at + 17);
    let symbol = at + 17;
    const lookup = new Uint16Array(65536);
    let code = 0;
    for (let length = 1; length <= 16; length++) {
      for (let i = 0; i < lengths[length - 1]; i++, symbol++) {
        const first = code << (16 - length);
        lookup.fill((length << 8) | body[symbol], first, first + (1 << (16 - length)));
        code += 1;
      }
      code <<= 1;
    }
    tables.set(kind, lookup);
    at = symbol;
  }
}

function readJpgFrame(view, at, marker) {
  const components = new Map();
  for (let i = 0; i < view.getUint8(at + 5); i++) {
    const sampling = view.getUint8(at + 7 + 3 * i);
    components.set(view.getUint8(at + 6 + 3 * i), { across: sampling >> 4, down: sampling & 15 });
  }
  const all = [...components.values()];
  return {
    height: view.getUint16(at + 1),
    width: view.getUint16(at + 3),
    components,
    across: Math.max(...all.map((component) => component.across)),
    down: Math.max(...all.map((component) => component.down)),
    isProgressive: marker === 0xc2,
  };
}

// Walks a scan whose header lies from `start` to `data`; returns where its data end.
function walkScan(bytes, start, data, { tables, frame, interval }) {
  const scan = readScanHeader(bytes, start, frame, tables);
  const bits = new ScanBits(bytes, data);
  const units = scanUnits(scan, frame);
  const walkUnit = scan.isProgressive && scan.first > 0 ? bandWalker(scan, units) : walkBlocks;
  for (let unit = 0; unit < units; unit++) {
    const restarts = interval > 0 && unit > 0 && unit % interval === 0;
    if (restarts) bits.passRestart();
    walkUnit(bits, scan, unit, restarts);
  }
  return bits.end();
}

function readScanHeader(bytes, start, frame, tables) {
  const count = bytes[start];
  const parts = [];
  for (let i = 0; i < count; i++) {
    const component = frame?.components.get(bytes[start + 1 + 2 * i]);
    if (component === undefined) throw new BrokenScan();
    const numbers = bytes[start + 2 + 2 * i];
    const dc = tables.get(numbers >> 4);
    const ac = tables.get(0x10 | (numbers & 15));
    parts.push({ component, dc, ac });
  }
  const [first, last, precision] = bytes.subarray(start + 1 + 2 * count, start + 4 + 2 * count);
  const isProgressive = frame.isProgressive;
  return {
    parts,
    first: isProgressive ? first : 0,
    last: isProgressive ? last : LAST_COEFFICIENT,
    isRefining: isProgressive && precision >> 4 > 0,
    isProgressive,
  };
}

// How many units of blocks a scan has: of all its components together, or of its only one.
function scanUnits({ parts }, frame) {
  const { width, height, across, down } = frame;
  if (parts.length > 1) {
    return Math.ceil(width / (BLOCK * across)) * Math.ceil(height / (BLOCK * down));
  }
  const { component } = parts[0];
  const columns = Math.ceil((width * component.across) / across);
  const rows = Math.ceil((height * component.down) / down);
  return Math.ceil(columns / BLOCK) * Math.ceil(rows / BLOCK);
}

// The blocks of one unit, in a file that is not progressive or in a scan of first coefficients.
function walkBlocks(bits, scan) {
  for (const { component, dc, ac } of scan.parts) {
    const blocks = scan.parts.length > 1 ? component.across * component.down : 1;
    for (let block = 0; block < blocks; block++) {
      if (scan.isRefining) {
        bits.skip(1);
      } else {
        bits.skip(bits.symbol(dc));
      }
      if (!scan.isProgressive) walkCoefficients(bits, ac);
    }
  }
}

function walkCoefficients(bits, ac) {
  let at = 1;
  while (at <= LAST_COEFFICIENT) {
    const symbol = bits.symbol(ac);
    const zeros = symbol >> 4;
    const size = symbol & 15;
    if (size === 0 && zeros < LONGEST_RUN_OF_ZEROS) return;
    bits.skip(size);
    at += zeros + 1;
  }
}

// The bits of a scan's data, up to the next marker.
class ScanBits {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
    this.value = 0;
    this.count = 0;
  }

  // Reads on until there are 16 bits, or no more: zeros stand for those, which must not be used.
  fill() {
    while (this.count <= 16) {
      const byte = this.bytes[this.at];
      if (byte === undefined || (byte === 0xff && this.bytes[this.at + 1] !== 0)) return;
      this.at += byte === 0xff ? 2 : 1;
      this.value = ((this.value << 8) | byte) & 0xffffff;
      this.count += 8;
    }
  }

  symbol(table) {
    this.fill();
    const window =
      this.count >= 16 ? this.value >> (this.count - 16) : this.value << (16 - this.count);
    const found = table?.[window & 0xffff] ?? 0;
    if (found === 0) throw new BrokenScan();
    this.use(found >> 8);
    return found & 0xff;
  }

  take(count) {
    this.fill();
    this.use(count);
    return (this.value >> this.count) & ((1 << count) - 1);
  }

  skip(count) {
    this.fill();
    this.use(count);
  }

  use(count) {
    if (count > this.count) throw new BrokenScan();
    this.count -= count;
  }

  passRestart() {
    const isRestart = this.bytes[this.at] === 0xff && (this.bytes[this.at + 1] & 0xf8) === 0xd0;
    if (this.count >= 8 || !isRestart) throw new BrokenScan();
    this.at += 2;
    this.count = 0;
  }

  // Where the data end: bytes that nobody has used mean that the codes are not the right ones.
  end() {
    this.fill();
    if (this.count >= 8 || this.bytes[this.at] !== 0xff) throw new BrokenScan();
    return this.at;
  }
}
