// The net itself, run by onnxruntime-web.

// onnxruntime-web takes threads only where a server isolates the page; a file from disk has one.
async function loadNet(runtime, model) {
  const url = URL.createObjectURL(new Blob([runtime.script], { type: "text/javascript" }));
  const ort = await import(url);
  URL.revokeObjectURL(url);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = runtime.wasm;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  return { ort, session };
}

// {probabilities, maps}: one image's; maps {values, height, width}, label by label at each place, or
// null where the net has none.
async function runNet(net, pixels, size) {
  const images = new net.ort.Tensor("uint8", pixels, [1, size, size, 4]);
  const wanted = ["probabilities", "maps"].filter((name) => net.session.outputNames.includes(name));
  const outputs = await net.session.run({ images }, wanted);
  const probabilities = Float32Array.from(outputs.probabilities.data);
  let maps = null;
  if (outputs.maps) {
    const [, height, width] = outputs.maps.dims;
    maps = { values: Float32Array.from(outputs.maps.data), height, width };
  }
  return { probabilities, maps };
}
