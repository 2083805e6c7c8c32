// Scores by asking the server that the page came from; pictures are made here.

const PREDICT = "v1/predict";
const MODEL = "v1/model";
const TRIES = 5; // where the server is busy
const LONGEST_WAIT = 30; // seconds, between two of them

class RemoteScorer {
  constructor(engine, description, onTokenWanted) {
    this.engine = engine;
    this.description = description;
    this.onTokenWanted = onTokenWanted;
    this.token = "";
    this.outputs = null;
  }

  setToken(token) {
    this.token = token;
    this.outputs = null;
  }

  // As `LocalScorer.score`.
  async score(entries, settings) {
    const files = await readFiles(entries);
    const pictures = await this.picturesOf(files, settings);
    const missing = this.missingOf(entries, pictures, settings);
    const row = await this.ask(files, missing, settings);
    return {
      missing: row.missing ?? [],
      notes: row.note ? [row.note] : [],
      preview: pictures?.preview ?? null,
      frame: pictures?.frame ?? null,
      probabilities: Float32Array.from(row.labels, (label) => label.probability),
      maps: row.maps ? flatMaps(row.maps) : null,
    };
  }

  // Of files that the browser cannot read the server says what is wrong, if anything is.
  async picturesOf(files, settings) {
    try {
      await this.engine.ready;
      const message = { field: { files, settings: { ...settings, onlyPictures: true } } };
      return (await this.engine.ask(message)).result;
    } catch (error) {
      if (error instanceof FieldRefused) return null;
      throw error;
    }
  }

  // The channels to be black: what no file is of, if the user wants that.
  missingOf(entries, pictures, settings) {
    if (!settings.blackForMissing) return [];
    const isComposite = entries.some((entry) => entry.channel === null);
    if (isComposite && pictures === null) return [];
    const given = isComposite
      ? Object.keys(pictures.preview.planes)
      : entries.map((entry) => entry.channel);
    return CHANNEL_NAMES.filter((name) => name !== "green" && !given.includes(name));
  }

  async ask(files, missing, settings) {
    if (this.outputs === null) {
      const model = await this.request(MODEL, {});
      this.outputs = model.export?.outputs ?? [];
    }
    const options = new URLSearchParams();
    if (missing.length) options.set("missing", missing.join(","));
    if (settings.white) options.set("white", settings.white);
    if (settings.pixelSize) options.set("pixel_size", settings.pixelSize);
    if (this.outputs.includes("maps")) options.set("outputs", "maps");
    const form = new FormData();
    for (const { name, channel, bytes } of files) {
      form.append(channel ?? "image", new Blob([bytes]), name);
    }
    const answer = await this.request(`${PREDICT}?${options}`, { method: "POST", body: form });
    return answer.images[0];
  }

  // The JSON of an answer; a refusal is thrown in the server's words.
  async request(path, init) {
    for (let tried = 1; ; tried++) {
      const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
      let response;
      try {
        response = await fetch(path, { ...init, headers, cache: "no-store" });
      } catch {
        throw new FieldRefused("The server cannot be reached. Once it runs, choose the files again.");
      }
      const content = await response.json().catch(() => ({}));
      if (response.ok) return content;
      if (response.status === 401) {
        this.onTokenWanted(this.token !== "");
        throw new FieldRefused("This server wants its token; type it in above.");
      }
      const isBusy = response.status === 503 && tried < TRIES;
      if (!isBusy) {
        throw new FieldRefused(
          content.error ?? `the server answers with status ${response.status}`,
        );
      }
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, LONGEST_WAIT)));
    }
  }
}

// [h][w][L] as one array.
function flatMaps(maps) {
  return { height: maps.length, width: maps[0].length, values: Float32Array.from(maps.flat(2)) };
}
