// From a field's channels to what the net takes, as the training set was prepared.

// Half rounds to the even number, as Python does.
function scaledLength(length, factor) {
  return Math.max(1, roundHalfEven(length * factor));
}

// {pixels, width, height, notes}: pixels uint8 [size, size, 4], channels last.
//
// field: as `readField` returns it. preparation: of the net's description, or null for older nets.
// pixelSize: of the field in micrometres, or null.
function prepareField(field, size, preparation, pixelSize) {
  const stored = storedSize(field, preparation, pixelSize);
  const aspect = preparation?.aspect ?? "stretch";
  const pixels = new Uint8Array(size * size * CHANNELS.length);
  CHANNELS.forEach((channel, c) => {
    const plane = field.planes[channel];
    if (plane === undefined) return;
    let image = { plane, width: field.width, height: field.height };
    image = resizeTo(image, stored.width, stored.height);
    image = toSquare(image, size, aspect);
    for (let i = 0; i < size * size; i++) pixels[CHANNELS.length * i + c] = image.plane[i];
  });
  return pixels;
}

// The size that the field would have in the dataset.
function storedSize({ width, height }, preparation, pixelSize) {
  let factor = 1;
  if (preparation?.edge) {
    factor = preparation.edge / Math.max(width, height);
  } else if (preparation?.rescaled_to && pixelSize) {
    factor = pixelSize / preparation.rescaled_to;
  } else {
    return { width, height };
  }
  const stored = { width: scaledLength(width, factor), height: scaledLength(height, factor) };
  if (stored.width * stored.height > MAX_PIXELS) {
    throw new Refused(
      `would have ${stored.width} x ${stored.height} pixels after rescaling; put the pixel size right`,
    );
  }
  return stored;
}

function resizeTo({ plane, width, height }, newWidth, newHeight) {
  return {
    plane: resizePlane(plane, width, height, newWidth, newHeight),
    width: newWidth,
    height: newHeight,
  };
}

function toSquare(image, size, aspect) {
  return resizeTo(image, size, size);
}
