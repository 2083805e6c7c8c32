// Unpacks zlib streams with the browser's own decompressor, which checks their checksum.

// Exactly `length` bytes; null if there are fewer or more, or if they do not decode.
async function inflate(parts, length) {
  const output = new Uint8Array(length);
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  let filled = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      // A small file can claim to be a huge one: no more is kept than the header has announced.
      if (filled + value.length > length) {
        reader.cancel().catch(() => {});
        return null;
      }
      output.set(value, filled);
      filled += value.length;
    }
  } catch {
    return null;
  }
  return filled === length ? output : null;
}
