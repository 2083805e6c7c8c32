// Resizes a plane of eight bits as OpenCV does for the training set: by area averages to shrink
// (INTER_AREA), bilinear to enlarge (INTER_LINEAR); both in the arithmetic that it uses.

// byArea: which of the two; where a side grows and the other shrinks, OpenCV has a form between them.
function resizePlane(plane, width, height, newWidth, newHeight, byArea) {
  if (width === newWidth && height === newHeight) return plane;
  const shrinks = newWidth <= width && newHeight <= height;
  if (!byArea || !shrinks) {
    const weights = byArea ? stretchedAreaWeights : linearWeights;
    return blend(plane, width, weights(width, newWidth), weights(height, newHeight));
  }
  const isWhole = width % newWidth === 0 && height % newHeight === 0;
  const shrink = isWhole ? shrinkByWholeFactors : shrinkByArea;
  return shrink(plane, width, height, newWidth, newHeight);
}

// Halves are rounded to the even neighbour.
function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest === 0.5) return floor + (floor & 1);
  return rest > 0.5 ? floor + 1 : floor;
}

function shrinkByWholeFactors(plane, width, height, newWidth, newHeight) {
  const dx = width / newWidth;
  const dy = height / newHeight;
  const scale = Math.fround(1 / (dx * dy));
  const output = new Uint8Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      for (let row = y * dy; row < (y + 1) * dy; row++) {
        const start = row * width + x * dx;
        for (let i = start; i < start + dx; i++) sum += plane[i];
      }
      // Two by two is an integer operation there, which rounds halves up.
      const isTwoByTwo = dx === 2 && dy === 2;
      output[y * newWidth + x] = isTwoByTwo
        ? (sum + 2) >> 2
        : roundHalfEven(Math.fround(sum * scale));
    }
  }
  return output;
}

// Weights of the source pixels that a pixel covers: {target, source, weight} in the order of the
// sum.
function areaWeights(size, newSize) {
  const scale = size / newSize;
  const weights = [];
  for (let target = 0; target < newSize; target++) {
    const start = target * scale;
    const end = start + scale;
    const covered = Math.min(scale, size - start);
    const last = Math.min(Math.floor(end), size - 1);
    const first = Math.min(Math.ceil(start), last);
    if (first - start > 1e-3) {
      weights.push({ target, source: first - 1, weight: (first - start) / covered });
    }
    for (let source = first; source < last; source++) {
      weights.push({ target, source, weight: 1 / covered });
    }
    if (end - last > 1e-3) {
      const rest = Math.min(Math.min(end - last, 1), covered);
      weights.push({ target, source: last, weight: rest / covered });
    }
  }
  return weights.map((entry) => ({ ...entry, weight: Math.fround(entry.weight) }));
}

function shrinkByArea(plane, width, height, newWidth, newHeight) {
  const across = areaWeights(width, newWidth);
  const down = areaWeights(height, newHeight);
  const targets = Int32Array.from(across, (entry) => entry.target);
  const sources = Int32Array.from(across, (entry) => entry.source);
  const weights = Float32Array.from(across, (entry) => entry.weight);
  const output = new Uint8Array(newWidth * newHeight);
  const sums = new Float32Array(newWidth);
  const line = new Float32Array(newWidth);
  let current = 0;
  const finish = (row) => {
    for (let x = 0; x < newWidth; x++) output[row * newWidth + x] = roundHalfEven(sums[x]);
    sums.fill(0);
  };
  for (const { target, source, weight } of down) {
    if (target !== current) {
      finish(current);
      current = target;
    }
    line.fill(0);
    const start = source * width;
    for (let i = 0; i < targets.length; i++) {
      line[targets[i]] += Math.fround(plane[start + sources[i]] * weights[i]);
    }
    for (let x = 0; x < newWidth; x++) sums[x] += Math.fround(line[x] * weight);
  }
  finish(current);
  return output;
}

// The two neighbours of each new pixel along an axis, and their weights in units of 1 / 2048.
function linearWeights(size, newSize) {
  const scale = size / newSize;
  return Array.from({ length: newSize }, (_, target) => {
    const position = Math.fround((target + 0.5) * scale - 0.5);
    const first = Math.floor(position);
    return neighbourWeights(first, Math.fround(position - first), size);
  });
}

// The same where areas are to be kept along an axis that grows beside one that shrinks.
function stretchedAreaWeights(size, newSize) {
  const scale = size / newSize;
  const inverse = newSize / size;
  return Array.from({ length: newSize }, (_, target) => {
    const first = Math.floor(target * scale);
    const rest = Math.fround(target + 1 - (first + 1) * inverse);
    return neighbourWeights(first, rest <= 0 ? 0 : rest - Math.floor(rest), size);
  });
}

function neighbourWeights(first, rest, size) {
  if (first < 0) return { first: 0, second: 0, a: 2048, b: 0 };
  if (first >= size - 1) return { first: size - 1, second: size - 1, a: 2048, b: 0 };
  return {
    first,
    second: first + 1,
    a: roundHalfEven(Math.fround(1 - rest) * 2048),
    b: roundHalfEven(rest * 2048),
  };
}

function blend(plane, width, across, down) {
  const output = new Uint8Array(across.length * down.length);
  const stretched = (row) =>
    Int32Array.from(across, ({ first, second, a, b }) => {
      return plane[row * width + first] * a + plane[row * width + second] * b;
    });
  down.forEach(({ first, second, a, b }, y) => {
    const above = stretched(first);
    const below = stretched(second);
    for (let x = 0; x < across.length; x++) {
      const sum = (((above[x] >> 4) * a) >> 16) + (((below[x] >> 4) * b) >> 16);
      output[y * across.length + x] = Math.min(255, (sum + 2) >> 2);
    }
  });
  return output;
}
