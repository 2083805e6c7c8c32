// Pictures of a field on canvases: false colours, single channels, and what the net looked at.

const MAX_GAIN = 6; // an empty channel stays black, and does not become a picture of its noise
const WHITE_QUANTILE = 0.998;
const TINT = [255, 140, 0];
const EDGE = [86, 180, 233];
const TINT_STRENGTH = 0.6; // where the map is largest

const CHANNEL_WORDS = { red: "microtubules", green: "protein", blue: "nucleus", yellow: "ER" };

// The planes with more contrast: the factor, 1 to MAX_GAIN, makes WHITE_QUANTILE of a plane white.
function brightened(planes) {
  const output = {};
  for (const [channel, plane] of Object.entries(planes)) {
    const counts = new Uint32Array(256);
    for (const value of plane) counts[value] += 1;
    let white = 255;
    let above = counts[255];
    while (white > 1 && above + counts[white - 1] <= (1 - WHITE_QUANTILE) * plane.length) {
      white -= 1;
      above += counts[white];
    }
    const gain = Math.min(MAX_GAIN, Math.max(1, 255 / white));
    output[channel] = plane.map((value) => Math.min(255, Math.round(value * gain)));
  }
  return output;
}

// RGBA of the Atlas's false colours, or of one channel in gray.
function paint({ width, height }, planes, shown) {
  const rgba = new Uint8ClampedArray(4 * width * height);
  const black = new Uint8Array(width * height);
  const { red = black, green = black, blue = black, yellow = black } = planes;
  const gray = shown === "all" ? null : (planes[shown] ?? black);
  for (let i = 0; i < width * height; i++) {
    // In full strength yellow would hide the protein.
    const half = yellow[i] >> 1;
    rgba[4 * i] = gray ? gray[i] : red[i] + half;
    rgba[4 * i + 1] = gray ? gray[i] : green[i] + half;
    rgba[4 * i + 2] = gray ? gray[i] : blue[i];
    rgba[4 * i + 3] = 255;
  }
  return rgba;
}

// Tints what speaks for a label, and edges it where the map reaches half its maximum.
function tint(rgba, { width, height }, heat) {
  const isAbove = (x, y) => heat[y * width + x] >= 0.5;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const weight = TINT_STRENGTH * heat[i];
      for (let c = 0; c < 3; c++) {
        rgba[4 * i + c] = rgba[4 * i + c] * (1 - weight) + TINT[c] * weight;
      }
      const isEdge =
        isAbove(x, y) &&
        ((x > 0 && !isAbove(x - 1, y)) ||
          (y > 0 && !isAbove(x, y - 1)) ||
          (x < width - 1 && !isAbove(x + 1, y)) ||
          (y < height - 1 && !isAbove(x, y + 1)));
      if (isEdge) {
        for (let c = 0; c < 3; c++) rgba[4 * i + c] = EDGE[c];
      }
    }
  }
}

// A label's map over a picture: 0 to 1, its largest value 1; null where nothing speaks for it.
//
// frame: where the net's square lies in the picture, in fractions of it.
function heatOf(maps, label, labels, { width, height }, frame) {
  const coarse = new Float32Array(maps.height * maps.width);
  let largest = 0;
  for (let i = 0; i < coarse.length; i++) {
    coarse[i] = Math.max(0, maps.values[i * labels + label]);
    largest = Math.max(largest, coarse[i]);
  }
  if (largest === 0) return null;
  const heat = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const v = ((y + 0.5) / height - frame.top) / frame.height;
    for (let x = 0; x < width; x++) {
      const u = ((x + 0.5) / width - frame.left) / frame.width;
      if (u < 0 || u > 1 || v < 0 || v > 1) continue;
      heat[y * width + x] = between(coarse, maps, u, v) / largest;
    }
  }
  return heat;
}

function between(coarse, maps, u, v) {
  const [x0, x1, right] = neighbours(u, maps.width);
  const [y0, y1, down] = neighbours(v, maps.height);
  const at = (x, y) => coarse[y * maps.width + x];
  const above = at(x0, y0) * (1 - right) + at(x1, y0) * right;
  const below = at(x0, y1) * (1 - right) + at(x1, y1) * right;
  return above * (1 - down) + below * down;
}

function neighbours(fraction, size) {
  const position = Math.min(size - 1, Math.max(0, fraction * size - 0.5));
  const first = Math.floor(position);
  // A step without corners, so that no grid shows through.
  const rest = position - first;
  return [first, Math.min(size - 1, first + 1), rest * rest * (3 - 2 * rest)];
}

function show(canvas, { width, height }, rgba) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
}

// A square picture of `side` pixels, the field's proportions kept.
function showSmall(canvas, { width, height }, rgba, side) {
  const full = document.createElement("canvas");
  show(full, { width, height }, rgba);
  const factor = side / Math.max(width, height);
  canvas.width = side;
  canvas.height = side;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const [w, h] = [width * factor, height * factor];
  context.drawImage(full, (side - w) / 2, (side - h) / 2, w, h);
}
