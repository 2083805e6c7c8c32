"""The part of the page that reads and prepares images, in a real browser, called from a test."""

import base64
import json

import numpy as np

from hpa_jax.serving.page.assets import engine_script, source

# What a test calls: values go in and out as JSON, bytes as base64.
_CALLS = """
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
function textOf(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  }
  return btoa(text);
}
async function refusedOr(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refused) return { refused: error.message };
    throw error;
  }
}
const readChannel = (text) => refusedOr(async () => {
  const image = await decodeImage(bytesOf(text));
  const plane = toEightBits(selectPlane(image), 2 ** image.bits - 1);
  return { width: image.width, height: image.height, plane: textOf(plane) };
});
const readRaw = (text) => refusedOr(async () => {
  const image = await decodeImage(bytesOf(text));
  const planes = image.planes.map((p) => textOf(new Uint8Array(p.slice().buffer)));
  return { width: image.width, height: image.height, bits: image.bits, planes };
});
const prepareAs = (text, width, height, size, preparation, pixelSize) => refusedOr(async () => {
  const pixels = bytesOf(text);
  const planes = {};
  CHANNELS.forEach((channel, c) => {
    planes[channel] = pixels.filter((_, i) => i % 4 === c);
  });
  return { pixels: textOf(prepareField({ width, height, planes }, size, preparation, pixelSize)) };
});
"""


class Engine:
    """The engine in a tab."""

    def __init__(self, tab, folder):
        page = folder / "engine.html"
        scripts = (engine_script(), source("app/naming.js"), _CALLS)
        parts = [f"<script>{script}</script>" for script in scripts]
        page.write_text("<!doctype html><meta charset=utf-8>" + "".join(parts), encoding="utf-8")
        tab.open(page)
        self._tab = tab

    def call(self, name, *arguments):
        """Calls a function with values of JSON."""
        return self._tab.value(f"{name}({','.join(map(json.dumps, arguments))})")

    def channel(self, data: bytes) -> np.ndarray | str:
        """A channel's own file: uint8 [H, W], or the line that refuses it."""
        found = self.call("readChannel", base64.b64encode(data).decode())
        if "refused" in found:
            return found["refused"]
        plane = np.frombuffer(base64.b64decode(found["plane"]), np.uint8)
        return plane.reshape(found["height"], found["width"])

    def raw(self, data: bytes) -> np.ndarray:
        """The values of a file: [H, W, S]."""
        found = self.call("readRaw", base64.b64encode(data).decode())
        assert "refused" not in found, found
        dtype = np.uint16 if found["bits"] == 16 else np.uint8
        shape = (found["height"], found["width"])
        planes = [np.frombuffer(base64.b64decode(text), dtype) for text in found["planes"]]
        return np.stack([plane.reshape(shape) for plane in planes], axis=-1)

    def prepared(self, pixels, size, preparation=None, pixel_size=None) -> np.ndarray | str:
        """uint8 [S, S, 4] of uint8 [H, W, 4], or the line that refuses it."""
        height, width = pixels.shape[:2]
        text = base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()
        found = self.call("prepareAs", text, width, height, size, preparation, pixel_size)
        if "refused" in found:
            return found["refused"]
        array = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
        return array.reshape(size, size, 4)
