// The orientation that cameras write into JPG and PNG. A file that is not upright is refused: turning
// it would be wrong beside another channel whose program ignored the note.

const EXIF_ORIENTATION = 0x0112;
const EXIF_SHORT = 3;

// bytes: starts as a TIFF file does. What cannot be read says nothing.
function checkUpright(bytes) {
  const orientation = exifOrientation(bytes);
  if (orientation > 1) {
    throw new Refused(
      `must be rotated or mirrored to be viewed (EXIF orientation ${orientation}); save it upright`,
    );
  }
}

function exifOrientation(bytes) {
  const start = String.fromCharCode(...bytes.subarray(0, 4));
  if (start !== "II*\0" && start !== "MM\0*") return 1;
  const little = start === "II*\0";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const directory = view.getUint32(4, little);
    const count = view.getUint16(directory, little);
    for (let number = 0; number < count; number++) {
      const entry = directory + 2 + 12 * number;
      const isIt =
        view.getUint16(entry, little) === EXIF_ORIENTATION &&
        view.getUint16(entry + 2, little) === EXIF_SHORT;
      if (isIt) {
        const value = view.getUint16(entry + 8, little);
        return value <= 8 ? value : 1;
      }
    }
  } catch {
    // It ends before what it announces.
  }
  return 1;
}
