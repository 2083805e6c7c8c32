// What lies in the page as text: base64 of gzip.

const BASE64_PIECE = 4 * 262144;

// Piece by piece, since a net can be large.
async function unpackText(text) {
  const pieces = [];
  const clean = text.trim();
  for (let at = 0; at < clean.length; at += BASE64_PIECE) {
    const binary = atob(clean.slice(at, at + BASE64_PIECE));
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    pieces.push(bytes);
  }
  const stream = new Blob(pieces).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
