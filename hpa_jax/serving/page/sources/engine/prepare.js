// From a field's channels to what the net takes, as the training set was prepared.
//
// A training image went two ways: to its size in the dataset, then to a square of the net's size.
// Both round to whole values, so that both are done here, one after the other.

// Half rounds to the even number, as Python does.
function scaledLength(length, factor) {
  return Math.max(1, roundHalfEven(length * factor));
}

// uint8 [size, size, 4], channels last.
//
// field: as `readField` returns it. preparation: of the net's description, or null for older nets.
// pixelSize: of the field in micrometres, or null.
function prepareField(field, size, preparation, pixelSize) {
  const stored = storedSize(field, preparation, pixelSize);
  const aspect = preparation?.aspect ?? "stretch";
  const trained = trainedChannels(preparation);
  const pixels = new Uint8Array(size * size * CHANNELS.length);
  CHANNELS.forEach((channel, c) => {
    const plane = field.planes[channel];
    // What the training images did not have is black, whatever the field has.
    if (plane === undefined || !trained.includes(channel)) return;
    const image = shrunkOrEnlarged({ plane, width: field.width, height: field.height }, stored);
    const square = toSquare(image, size, aspect);
    for (let i = 0; i < square.length; i++) pixels[CHANNELS.length * i + c] = square[i];
  });
  return pixels;
}

// The size that the field would have in the dataset.
function storedSize({ width, height }, preparation, pixelSize) {
  let factor;
  if (preparation?.edge) {
    factor = preparation.edge / Math.max(width, height);
  } else if (preparation?.rescaled_to) {
    if (!pixelSize) {
      throw new Refused(
        "The net was trained on images scaled to " +
          `${preparation.rescaled_to} micrometres a pixel; give the pixel size under Settings`,
      );
    }
    factor = pixelSize / preparation.rescaled_to;
  } else {
    return { width, height };
  }
  const stored = { width: scaledLength(width, factor), height: scaledLength(height, factor) };
  if (stored.width * stored.height > MAX_PIXELS) {
    throw new Refused(
      `The field would have ${stored.width} x ${stored.height} pixels after rescaling; put the pixel size ` +
        "under Settings right",
    );
  }
  return stored;
}

function shrunkOrEnlarged({ plane, width, height }, to) {
  const shrinks = to.height <= height && to.width <= width;
  return { ...to, plane: resizePlane(plane, width, height, to.width, to.height, shrinks) };
}

function toSquare(image, size, aspect) {
  const { plane, width, height } = aspect === "stretch" ? image : cutOrPadded(image, aspect);
  return resizePlane(plane, width, height, size, size, size * size < width * height);
}

// crop: the longer side loses both ends. pad: black is put beside the image.
function cutOrPadded({ plane, width, height }, aspect) {
  const { left, top, side } = squareOf(width, height, aspect);
  const square = new Uint8Array(side * side);
  const firstRow = Math.max(0, top);
  const lastRow = Math.min(height, top + side);
  const firstColumn = Math.max(0, left);
  const lastColumn = Math.min(width, left + side);
  for (let y = firstRow; y < lastRow; y++) {
    const row = plane.subarray(y * width + firstColumn, y * width + lastColumn);
    square.set(row, (y - top) * side + firstColumn - left);
  }
  return { plane: square, width: side, height: side };
}

// Where the net's square lies in an image: it begins before it where black is put beside it.
function squareOf(width, height, aspect) {
  const side = aspect === "crop" ? Math.min(width, height) : Math.max(width, height);
  if (aspect === "crop") {
    return { left: (width - side) >> 1, top: (height - side) >> 1, side };
  }
  return { left: -((side - width) >> 1), top: -((side - height) >> 1), side };
}

// The same in fractions of the image, for the pictures.
function frameOf({ width, height }, aspect) {
  if (aspect === "stretch") return { left: 0, top: 0, width: 1, height: 1 };
  const { left, top, side } = squareOf(width, height, aspect);
  return { left: left / width, top: top / height, width: side / width, height: side / height };
}
