// From the files of one field to its channels.

const CHANNELS = ["red", "green", "blue", "yellow"];

const OTHER_FORMATS = [
  [[0x49, 0x49, 0x2a, 0x00], "a TIFF"],
  [[0x4d, 0x4d, 0x00, 0x2a], "a TIFF"],
  [[0x49, 0x49, 0x2b, 0x00], "a BigTIFF"],
  [[0x4d, 0x4d, 0x00, 0x2b], "a BigTIFF"],
  [[0x47, 0x49, 0x46, 0x38], "a GIF"],
  [[0x42, 0x4d], "a BMP"],
  [[0x50, 0x4b, 0x03, 0x04], "a zip file"],
  [[0x3c], "a web page or other text"],
];

// A camera of 12 bits stores its values in 16: taken as they are, the image would be nearly black.
const WIDTH_OF_CAMERAS = 4095;

async function decodeImage(bytes) {
  if (bytes.length === 0) {
    throw new Refused(`is empty (0 bytes); ${AGAIN}`);
  }
  if (isPng(bytes)) return decodePng(bytes);
  if (isJpg(bytes)) return decodeJpg(bytes);
  for (const [start, name] of OTHER_FORMATS) {
    if (start.every((value, i) => bytes[i] === value)) {
      const isTiff = name.endsWith("TIFF");
      const advice = isTiff
        ? "use `python -m hpa_jax.serving predict`, or save it as a PNG"
        : "save it as a PNG";
      throw new Refused(`is ${name}; this page reads PNG and JPG: ${advice}`);
    }
  }
  throw new Refused(`is neither PNG nor JPG; ${AGAIN} as one`);
}

// {width, height, planes, notes}: planes has eight bits of each channel that the files hold.
//
// files: [{name, channel, bytes}]; a channel of null is a composite, which holds red, green and blue.
// settings: {white}, the value that becomes 255, or null for what the net was trained with.
async function readField(files, settings, trainedWhite) {
  const planes = {};
  const notes = [];
  let size = null;
  let firstName = "";
  for (const file of files) {
    const found = await named(file.name, async () => {
      const image = await decodeImage(file.bytes);
      return { image, planes: planesOf(image, file.channel) };
    });
    const { width, height } = found.image;
    if (size === null) {
      size = { width, height };
      firstName = file.name;
    }
    if (width !== size.width || height !== size.height) {
      throw new Refused(
        `${file.name}: is ${width} x ${height} pixels, and ${firstName} ${size.width} x ` +
          `${size.height}; a field's channels have one size`,
      );
    }
    await named(file.name, async () => {
      for (const [channel, plane] of found.planes) {
        if (planes[channel]) {
          throw new Refused(`is a second ${channel} of this field; give one file a channel`);
        }
        planes[channel] = scaled(plane, found.image.bits, settings.white, trainedWhite);
      }
    });
  }
  return { ...size, planes, notes };
}

// Puts the file's name before what is said of it.
async function named(name, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refused) throw new Refused(`${name}: ${error.message}`);
    throw error;
  }
}

// [[channel, plane]] of one file.
function planesOf(image, channel) {
  if (channel !== null) return [[channel, selectPlane(image)]];
  const planes = opaquePlanes(image);
  if (planes.length === 1) {
    throw new Refused(
      "has one channel, and its name does not say which: call it ID_red, ID_green, ID_blue or " +
        "ID_yellow, or state your names of the channels under Settings",
    );
  }
  return ["red", "green", "blue"].map((name, i) => [name, planes[i]]);
}

function scaled(plane, bits, white, trainedWhite) {
  const largest = 2 ** bits - 1;
  if (white !== null) {
    if (white > largest) {
      throw new Refused(`has ${bits} bits a pixel, too few for a white of ${white}`);
    }
    return toEightBits(plane, white);
  }
  const brightest = largestOf(plane);
  if (bits === 16 && brightest > 255 && brightest <= WIDTH_OF_CAMERAS && !trainedWhite?.[bits]) {
    throw new Refused(
      `has 16 bits and no value above ${brightest}: if the camera has 12, set the white value to ` +
        "4095 under Settings; if it is only dark, to 65535",
    );
  }
  return toEightBits(plane, trainedWhite?.[bits] ?? largest);
}
