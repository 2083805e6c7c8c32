// Which plane of an image file holds a channel, and its values in eight bits.
//
// An image in colour yields the plane that holds the channel, never luma, which would make 76 out of
// a red 254: red R, green G, blue B, yellow R.

// At 24 an Atlas image darkened eightfold and saved at quality 20 looks gray.
const BRIGHT = 32;
const SAVE_GRAY = "save the channel's own plane as a gray PNG";
const LIT_BY_CHANNEL = { red: [0], green: [1], blue: [2], yellow: [0, 1] };

// The planes of an image without its alpha; refused where that hides anything.
function opaquePlanes(image) {
  const count = image.planes.length;
  const hasShade = image.colour.endsWith("shade");
  if (count === 1 && !hasShade) return image.planes;
  if (count === 3 && !hasShade) return image.planes;
  const white = 2 ** image.bits - 1;
  const isOpaque = !hasShade && image.planes[count - 1].every((value) => value === white);
  if (!isOpaque) {
    throw new Refused(`is ${image.colour}, not gray; ${SAVE_GRAY}`);
  }
  return image.planes.slice(0, count - 1);
}

// The plane of one channel in a file of its own.
function selectPlane(image) {
  const planes = opaquePlanes(image);
  if (planes.length === 1) return planes[0];
  const [red, green, blue] = planes;
  if (areEqual(red, green) && areEqual(green, blue)) return red;
  const lit = image.format === "JPEG" ? litPlanesLossy(image, planes) : litPlanes(planes);
  if (lit === null) {
    throw new Refused(`shows several channels at once; ${SAVE_GRAY}`);
  }
  return planes[lit[0]];
}

function areEqual(one, other) {
  return one.every((value, i) => value === other[i]);
}

// The only plane that is not zero, or red and green if they are equal; null for other colours.
function litPlanes(planes) {
  const lit = [0, 1, 2].filter((plane) => planes[plane].some((value) => value > 0));
  const isYellow = lit.join() === "0,1" && areEqual(planes[0], planes[1]);
  return lit.length === 1 || isYellow ? lit : null;
}

// Compression makes colours bleed: planes count by their energy in bright pixels, and those with a
// quarter of the largest are lit. Where hardly a pixel is bright, the largest one is taken.
function litPlanesLossy(image, planes) {
  const step = Math.max(1, Math.floor(Math.min(image.height, image.width) / 512));
  const bright = [0, 0, 0];
  const all = [0, 0, 0];
  let sampled = 0;
  let brightPixels = 0;
  for (let y = 0; y < image.height; y += step) {
    for (let x = 0; x < image.width; x += step) {
      const i = y * image.width + x;
      const values = planes.map((plane) => plane[i]);
      const isBright = Math.max(...values) >= BRIGHT;
      sampled += 1;
      brightPixels += isBright ? 1 : 0;
      values.forEach((value, plane) => {
        all[plane] += value * value;
        bright[plane] += isBright ? value * value : 0;
      });
    }
  }
  if (brightPixels < sampled / 1000) {
    return [all.indexOf(Math.max(...all))];
  }
  const enough = Math.max(...bright) / 4;
  const lit = [0, 1, 2].filter((plane) => bright[plane] >= enough);
  const isKnown = Object.values(LIT_BY_CHANNEL).some((known) => known.join() === lit.join());
  return isKnown ? lit : null;
}

function largestOf(plane) {
  let largest = 0;
  for (const value of plane) {
    if (value > largest) largest = value;
  }
  return largest;
}

// min(255, value * 255 / white), rounded half up.
function toEightBits(plane, white) {
  if (white === 255 && plane instanceof Uint8Array) return plane;
  const shades = new Uint8Array(65536);
  for (let value = 0; value < shades.length; value++) {
    shades[value] = Math.min(255, Math.floor((value * 510 + white) / (2 * white)));
  }
  const output = new Uint8Array(plane.length);
  for (let i = 0; i < plane.length; i++) output[i] = shades[plane[i]];
  return output;
}
