// From the files of one field to its channels.

const CHANNELS = ["red", "green", "blue", "yellow"];

// A camera of 12 bits stores its values in 16: taken as they are, they are nearly black.
const LARGEST_OF_12_BITS = 4095;

// {width, height, planes, notes}: planes has eight bits of each channel that the files hold.
//
// files: [{name, channel, bytes}]; a channel of null is a composite, which holds red, green and blue.
// settings: {white}, the value that becomes 255; null for the largest of a file's depth.
async function readField(files, settings) {
  const planes = {};
  const notes = new Set();
  let size = null;
  let firstName = "";
  for (const { name, channel, bytes } of files) {
    await named(name, async () => {
      const image = await decodeImage(bytes);
      const { width, height } = image;
      if (size === null) {
        size = { width, height };
        firstName = name;
      }
      if (width !== size.width || height !== size.height) {
        throw new Refused(
          `has ${width} x ${height} pixels, ${firstName} ${size.width} x ${size.height}; put the ` +
            "files of one field together",
        );
      }
      const found = channel === null ? compositePlanes(image) : [[channel, selectPlane(image)]];
      for (const [of, plane] of found) {
        if (planes[of]) {
          throw new Refused(`is a second ${of} of this field; give one file a channel`);
        }
        planes[of] = inEightBits(plane, image.bits, settings.white, notes);
      }
    });
  }
  return { ...size, planes, notes: [...notes] };
}

// Puts the file's name before what is said of it.
async function named(name, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refused) throw new Refused(`${name} ${error.message}`);
    throw error;
  }
}

function inEightBits(plane, bits, white, notes) {
  const largest = 2 ** bits - 1;
  if (white !== null && white > largest) {
    throw new Refused(`has ${bits} bits a pixel, too few for a white of ${white}`);
  }
  const brightest = bits === 16 && white === null ? largestOf(plane) : 0;
  if (brightest > 255 && brightest <= LARGEST_OF_12_BITS) {
    notes.add("no value above 4095 of 65535: if the camera has 12 bits, set white to 4095");
  }
  return toEightBits(plane, white ?? largest);
}
