// Which plane of an image file holds a channel, and its values in eight bits.
//
// An image in colour yields the plane that holds the channel, never luma, which would make 76 out of
// a red 254: red R, green G, blue B, yellow R.

// At 24 an Atlas image darkened eightfold and saved at quality 20 looks gray.
const BRIGHT = 32;
const SAVE_GRAY = "save the channel's own plane as a gray PNG of 8 or 16 bits";
const ONE_PLANE = ["gray", "gray in a palette"];
const LIT_PLANES = ["0", "1", "2", "0,1"]; // red, green, blue, yellow

// The plane of one channel in a file of its own.
function selectPlane(image) {
  const { planes, colour } = image;
  if (ONE_PLANE.includes(colour)) return planes[0];
  if (colour !== "RGB") {
    throw new Refused(`is ${colour}, not gray; ${SAVE_GRAY}`);
  }
  if (isGray(planes)) return planes[0];
  const lit = image.format === "JPEG" ? litPlanesLossy(image) : litPlanes(planes);
  if (lit === null) {
    throw new Refused(`shows several channels at once; ${SAVE_GRAY}`);
  }
  return planes[lit[0]];
}

// [[channel, plane]] of a composite in colour, or of a picture of one channel in its colour.
function compositePlanes(image) {
  const { planes, colour } = image;
  if (ONE_PLANE.includes(colour)) {
    throw new Refused(
      "holds one channel, and its name does not say which; call it ID_red, ID_green, ID_blue or " +
        "ID_yellow, or say under Settings what the channels are called",
    );
  }
  if (colour !== "RGB" && colour !== "RGBA") {
    throw new Refused(`is ${colour}, not gray or RGB; ${SAVE_GRAY}`);
  }
  if (colour === "RGBA" && !planes[3].every((value) => value === 2 ** image.bits - 1)) {
    throw new Refused(
      "has a fourth sample a pixel that may be a channel or how opaque it is; save it without, or " +
        "each channel as a file",
    );
  }
  if (isGray(planes)) {
    throw new Refused(
      "is gray, though in colours: its red, green and blue are equal; give each channel's own file",
    );
  }
  // The picture of one channel in its colour: the other two are not dark, they are not there.
  const lit = image.format === "JPEG" ? null : litPlanes(planes);
  if (lit?.length) return [[CHANNELS[LIT_PLANES.indexOf(lit.join())], planes[lit[0]]]];
  return ["red", "green", "blue"].map((channel, i) => [channel, planes[i]]);
}

function isGray([red, green, blue]) {
  return areEqual(red, green) && areEqual(green, blue);
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
// quarter of the largest are lit. Where hardly a pixel is bright, the strongest one is taken.
function litPlanesLossy({ planes, width, height }) {
  const step = Math.max(1, Math.floor(Math.min(height, width) / 512));
  const bright = [0, 0, 0];
  const all = [0, 0, 0];
  let sampled = 0;
  let brightPixels = 0;
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) {
      const values = planes.map((plane) => plane[y * width + x]);
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
  return LIT_PLANES.includes(lit.join()) ? lit : null;
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
