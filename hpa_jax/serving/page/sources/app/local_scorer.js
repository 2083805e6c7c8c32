// Scores with the engine of this page: a thread of its own, so that the page answers meanwhile.

class LocalScorer {
  // data: what lies in the page: {engine, texts, description}; texts is null where a server scores.
  constructor({ engine, texts, description }) {
    const url = URL.createObjectURL(new Blob([engine], { type: "text/javascript" }));
    this.worker = new Worker(url);
    this.waiting = new Map();
    this.number = 0;
    this.worker.onmessage = ({ data }) => this.answer(data);
    this.worker.onerror = (event) => this.fail(event.message ?? "the page's thread has stopped");
    this.ready = this.ask({ load: { texts, description } });
  }

  // The result of one field: {missing, notes, preview, probabilities, maps}.
  async score(entries, settings) {
    await this.ready;
    return (await this.ask({ field: { files: await readFiles(entries), settings } })).result;
  }

  ask(message) {
    this.number += 1;
    const number = this.number;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject });
      this.worker.postMessage({ number, ...message });
    });
  }

  answer(data) {
    const { resolve, reject } = this.waiting.get(data.number);
    this.waiting.delete(data.number);
    if (data.refused) {
      reject(new FieldRefused(data.refused));
    } else {
      resolve(data);
    }
  }

  fail(reason) {
    for (const { reject } of this.waiting.values()) reject(new FieldRefused(reason));
    this.waiting.clear();
  }
}

class FieldRefused extends Error {}

async function readFiles(entries) {
  const files = [];
  for (const { file, channel } of entries) {
    let buffer;
    try {
      buffer = await file.arrayBuffer();
    } catch {
      throw new FieldRefused(`${file.name}: cannot be read any more; choose it again`);
    }
    files.push({ name: file.name, channel, bytes: new Uint8Array(buffer) });
  }
  return files;
}
