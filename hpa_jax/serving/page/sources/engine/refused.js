// What is said of a file that is not read: one line that goes on after its name.

class Refused extends Error {}

const AGAIN = "download or save it again";

// As the programs of this project have it: a header that claims more is not believed.
const MAX_PIXELS = 4096 * 4096;

function checkPixels(width, height) {
  if (!width || !height) {
    throw new Refused(`claims ${width} x ${height} pixels; ${AGAIN}`);
  }
  if (width * height > MAX_PIXELS) {
    throw new Refused(`claims ${width} x ${height} pixels, more than ${MAX_PIXELS}; scale it down`);
  }
}
