// From the files of one field to its channels.

const CHANNELS = ["red", "green", "blue", "yellow"];

// A 16-bit file whose values stay below this is of a camera with fewer bits, or very dim.
const FEW_OF_16_BITS = 4096;

// {width, height, planes}: planes has eight bits of each channel that the files hold.
//
// files: [{name, channel, bytes}]; a channel of null is a composite, which holds red, green and blue.
// white: the value that becomes 255, by the user; null: as the net was trained. trained: by bits.
async function readField(files, white, trained) {
  const found = [];
  for (const { name, channel, bytes } of files) {
    await named(name, async () => {
      const image = await decodeImage(bytes);
      checkSize(image, name, found);
      const planes = channel === null ? compositePlanes(image) : [[channel, selectPlane(image)]];
      for (const [of, plane] of planes) {
        if (found.some((other) => other.channel === of)) {
          throw new Refused(`is a second ${of} of this field; give one file a channel`);
        }
        found.push({ name, channel: of, plane, image });
      }
    });
  }
  const { width, height } = found[0].image;
  const chosen = white ?? whiteOf(found, trained);
  const planes = {};
  for (const { name, channel, plane, image } of found) {
    const largest = 2 ** image.bits - 1;
    if (chosen !== null && chosen > largest) {
      throw new Refused(
        `${name} has ${image.bits} bits a pixel, too few for a white of ${chosen}; put the white value ` +
          "under Settings right",
      );
    }
    planes[channel] = toEightBits(plane, chosen ?? largest);
  }
  return { width, height, planes };
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

function checkSize({ width, height }, name, found) {
  if (found.length === 0) return;
  const first = found[0];
  if (width !== first.image.width || height !== first.image.height) {
    throw new Refused(
      `has ${width} x ${height} pixels, ${first.name} ${first.image.width} x ` +
        `${first.image.height}; put the files of one field together`,
    );
  }
}

// The white of the training files, where it was stated; null: the largest value of the depth.
function whiteOf(found, trained) {
  const bits = Math.max(...found.map(({ image }) => image.bits));
  const stated = trained?.[bits];
  if (stated && stated !== 2 ** bits - 1) return stated;
  // Trained on such files, the net knows them as they are.
  if (bits !== 16 || stated) return null;
  const largest = Math.max(...found.map(({ plane }) => largestOf(plane)));
  if (largest > 0 && largest < FEW_OF_16_BITS) {
    throw new Refused(
      `The field has 16 bits and no value above ${largest}, of which hardly a grey would be left; say ` +
        "under Settings which value is white: 4095 for a camera of 12 bits, 65535 if it is that dim",
    );
  }
  return null;
}
