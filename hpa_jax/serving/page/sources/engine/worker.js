// The thread that reads and scores. It answers each message with its number.
//
//   {number, load: {texts: {script, wasm, model}, description}}  ->  {number, ready: true}
//   {number, field: {files, settings}}                           ->  {number, result}
//
// or {number, refused: "one line"}.

const PREVIEW_SIDE = 512;

let engine = null;

async function load({ texts, description }) {
  engine = { description, net: null };
  // The page of a server asks that server for the scores.
  if (!texts) return { ready: true };
  const script = await unpackText(texts.script);
  const wasm = await unpackText(texts.wasm);
  const model = await unpackText(texts.model);
  engine.net = await loadNet({ script, wasm }, model);
  return { ready: true };
}

async function scoreField({ files, settings }) {
  const { description, net } = engine;
  const size = description.input.shape[1];
  const preparation = description.preparation ?? null;
  const field = await readField(files, settings.white, preparation?.white);
  const trained = trainedChannels(preparation);
  const missing = CHANNELS.filter((of) => !trained.includes(of) || field.planes[of] === undefined);
  if (!settings.onlyPictures) {
    checkMissing(
      missing.filter((of) => trained.includes(of)),
      settings,
    );
  }
  const frame = frameOf(field, preparation?.aspect ?? "stretch");
  const result = { missing, notes: [], preview: previewOf(field), frame };
  if (net !== null) {
    const pixels = prepareField(field, size, preparation, settings.pixelSize);
    result.notes.push(...unusualChannels(pixels, preparation, missing));
    Object.assign(result, await runNet(net, pixels, size));
  }
  return result;
}

function trainedChannels(preparation) {
  return preparation?.channels?.length ? preparation.channels : CHANNELS;
}

function checkMissing(missing, settings) {
  if (missing.includes("green")) {
    throw new Refused(
      "The field has no green channel, the protein, which all of this is about; add its file",
    );
  }
  if (missing.length && !settings.blackForMissing) {
    throw new Refused(
      `The field has no ${listed(missing)}, which the net was trained on; add what is missing, or ` +
        "choose “Black for missing channels” under Settings",
    );
  }
}

// "red", "red or blue", "red, blue or yellow".
function listed(names) {
  const last = names.at(-1);
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} or ${last}` : last;
}

// Of a channel's mean to that of the training images; the same bounds as `predict` notes.
const DARK_IMAGE = 1 / 12;
const BRIGHT_IMAGE = 4;

function unusualChannels(pixels, preparation, missing) {
  const notes = [];
  CHANNELS.forEach((channel, c) => {
    const known = preparation?.intensities?.[channel];
    if (!known?.mean || missing.includes(channel)) return;
    let sum = 0;
    for (let i = c; i < pixels.length; i += CHANNELS.length) sum += pixels[i];
    const mean = sum / (pixels.length / CHANNELS.length) / 255;
    if (mean / known.mean < DARK_IMAGE) notes.push(`${channel} is dark`);
    if (mean / known.mean > BRIGHT_IMAGE) notes.push(`${channel} is bright`);
  });
  return notes;
}

// Small planes for pictures, the field's proportions kept.
function previewOf({ planes, width, height }) {
  const factor = Math.min(1, PREVIEW_SIDE / Math.max(width, height));
  const newWidth = scaledLength(width, factor);
  const newHeight = scaledLength(height, factor);
  const small = {};
  for (const [channel, plane] of Object.entries(planes)) {
    small[channel] = resizePlane(plane, width, height, newWidth, newHeight, true);
  }
  return {
    planes: small,
    width: newWidth,
    height: newHeight,
    nativeWidth: width,
    nativeHeight: height,
  };
}

function transferable(result) {
  const buffers = Object.values(result.preview?.planes ?? {}).map((plane) => plane.buffer);
  return [...new Set(buffers)];
}

self.onmessage = async ({ data }) => {
  const { number } = data;
  try {
    if (data.load) {
      self.postMessage({ number, ...(await load(data.load)) });
    } else {
      const result = await scoreField(data.field);
      self.postMessage({ number, result }, transferable(result));
    }
  } catch (error) {
    // A defect of this page says what it is, too: one line, and the page goes on.
    const isPlain = error instanceof Refused || data.load;
    const line = isPlain ? error.message : `cannot be read here (${error.message})`;
    self.postMessage({ number, refused: line.replace(/\s+/g, " ") });
  }
};
