// The codes of a progressive JPG's scans behind the first coefficient, for `jpg_scans.js`.

const COEFFICIENTS = 64; // of a block

// Walks a band of coefficients of a progressive file's only component, block by block.
function bandWalker({ parts, first, last, isRefining }, units) {
  const [{ component, ac }] = parts;
  component.isThere ??= new Uint8Array(COEFFICIENTS * units);
  const walk = isRefining ? walkRefined : walkFirst;
  let run = 0; // blocks without a new coefficient
  return (bits, scan, unit, restarts) => {
    if (restarts) run = 0;
    const start = COEFFICIENTS * unit;
    const isThere = component.isThere.subarray(start, start + COEFFICIENTS);
    run = walk(bits, ac, isThere, first, last, run);
  };
}

// Each returns for how many of the next blocks there is nothing new.
function walkFirst(bits, ac, isThere, first, last, run) {
  if (run > 0) return run - 1;
  let at = first;
  while (at <= last) {
    const symbol = bits.symbol(ac);
    const zeros = symbol >> 4;
    const size = symbol & 15;
    if (size === 0 && zeros < LONGEST_RUN_OF_ZEROS) return runOf(bits, zeros) - 1;
    bits.skip(size);
    at += zeros;
    if (size > 0 && at < COEFFICIENTS) isThere[at] = 1;
    at += 1;
  }
  return 0;
}

function walkRefined(bits, ac, isThere, first, last, run) {
  let at = first;
  let left = run;
  while (left === 0 && at <= last) {
    const symbol = bits.symbol(ac);
    const zeros = symbol >> 4;
    const size = symbol & 15;
    if (size > 1) throw new BrokenScan();
    if (size === 0 && zeros < LONGEST_RUN_OF_ZEROS) {
      left = runOf(bits, zeros);
      break;
    }
    bits.skip(size);
    at = refineUpTo(bits, isThere, at, last, zeros);
    if (size > 0 && at <= last) isThere[at] = 1;
    at += 1;
  }
  if (left === 0) return 0;
  refineUpTo(bits, isThere, at, last, COEFFICIENTS);
  return left - 1;
}

// One bit for each coefficient that is there, until as many that are not have been passed; returns
// the place of the next that is not.
function refineUpTo(bits, isThere, from, last, zeros) {
  let left = zeros;
  let at = from;
  for (; at <= last; at++) {
    if (isThere[at]) {
      bits.skip(1);
    } else if (left === 0) {
      break;
    } else {
      left -= 1;
    }
  }
  return at;
}

function runOf(bits, size) {
  return (1 << size) + bits.take(size);
}
