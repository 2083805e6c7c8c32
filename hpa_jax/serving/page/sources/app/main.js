// The page: which files there are, which field is next, and what is seen of it.

// Of 2023 and later in all browsers; without them the page cannot even start.
for (const name of ["DecompressionStream", "OffscreenCanvas", "Worker", "WebAssembly"]) {
  if (!(name in window)) {
    byId("status").textContent = `This browser is too old for this page: it has no ${name}.`;
  }
}

const page = JSON.parse(byId("page-data").textContent);
const { description } = page;
const textOf = (id) => byId(id)?.textContent ?? null;

const engineData = {
  engine: textOf("engine"),
  texts:
    page.mode === "server"
      ? null
      : { script: textOf("runtime-script"), wasm: textOf("runtime-wasm"), model: textOf("model") },
  description,
};
const engine = new LocalScorer(engineData);
const scorer = page.mode === "server" ? new RemoteScorer(engine, description, askForToken) : engine;
// A net is large, and the thread has its own copy now.
for (const id of ["runtime-script", "runtime-wasm", "model"]) byId(id)?.remove();
engineData.texts = null;

const view = new FieldView(description, openBeside);
const list = new FieldList(description, openField);

let files = []; // [{file, path}], all that were given
let fields = new Map(); // by Id: {id, entries, result, rows, refused, picture, isThinned}
const KEPT = 60; // fields whose pictures stay in memory
let current = null;
let round = 0; // what was begun before the last change is not shown any more

function say(text, isWarning = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("warn", isWarning);
}

async function openField(id, byUser = false) {
  current = id;
  const field = fields.get(id);
  if (field.isThinned) {
    field.isThinned = false;
    Object.assign(field, await scoreField(field, readSettings()));
    thinOut();
    if (current !== id) return;
  }
  const ids = [...fields.keys()];
  view.open(field, { number: ids.indexOf(id) + 1, of: ids.length });
  list.mark(id);
  if (byUser) byId("field-title").focus();
}

async function openBeside(step) {
  const ids = [...fields.keys()];
  const id = ids[ids.indexOf(current) + step];
  if (id === undefined) return;
  await openField(id);
  // The button was drawn anew: whoever pressed it can press it again.
  const button = document.querySelectorAll(".step")[step > 0 ? 1 : 0];
  (button?.disabled === false ? button : byId("field-title")).focus();
}

// The planes of a field take a megabyte: of all but the last ones they are read again when asked for.
function thinOut() {
  const full = [...fields.values()].filter(
    (field) => field.result?.preview && field.id !== current,
  );
  for (const field of full.slice(0, Math.max(0, full.length - KEPT))) {
    field.result.preview = null;
    field.isThinned = true;
  }
}

function addAll(more) {
  if (more.length === 0) {
    say("There is no image in what was given.", true);
    return;
  }
  // What was given again counts once, as it is now.
  const paths = new Set(more.map(({ path }) => path));
  files = [...files.filter(({ path }) => !paths.has(path)), ...more];
  regroup(paths);
}

// Puts the files to their fields anew; those without a changed file keep their scores.
function regroup(changed = null) {
  const grouped = groupFiles(files, readSettings().names);
  const before = fields;
  fields = new Map();
  for (const [id, entries] of grouped) {
    const old = before.get(id);
    const isSame =
      changed !== null &&
      old?.entries.length === entries.length &&
      !entries.some(({ path }) => changed.has(path));
    fields.set(id, isSame ? old : { id, entries });
  }
  list.show([...fields.values()]);
  document.body.classList.toggle("has-fields", fields.size > 0);
  if (!fields.has(current)) {
    current = null;
    view.hide();
  }
  run();
}

async function run() {
  round += 1;
  const mine = round;
  const settings = readSettings();
  const waiting = [...fields.values()].filter((field) => !field.result && !field.refused);
  const bar = byId("progress");
  bar.hidden = false;
  bar.removeAttribute("value");
  if (waiting.length > 1) bar.max = waiting.length;
  for (const [done, field] of waiting.entries()) {
    say(`Looking at ${field.id} (${done + 1} of ${waiting.length}) ...`);
    if (waiting.length > 1) bar.value = done;
    const answer = await scoreField(field, settings);
    if (mine !== round) return;
    Object.assign(field, answer);
    list.update(field);
    thinOut();
    const isFirst = current === null || !fields.has(current);
    if (isFirst || current === field.id) {
      openField(field.id);
    } else {
      list.mark(current);
    }
  }
  bar.hidden = true;
  sayDone();
}

async function scoreField(field, settings) {
  try {
    const result = await scorer.score(field.entries, settings);
    return { result, rows: verdictOf(result.probabilities, description) };
  } catch (error) {
    if (error instanceof FieldRefused) return { refused: error.message };
    throw error;
  }
}

function sayDone() {
  const all = [...fields.values()];
  const refused = all.filter((field) => field.refused);
  const scored = `${plural(all.length - refused.length, "field")} scored`;
  if (refused.length === 1 && all.length === 1) {
    say(`Not read: ${refused[0].refused}`, true);
  } else if (refused.length) {
    say(`${scored}, ${refused.length} not read: see the list.`, true);
  } else {
    say(`${scored}.`);
  }
}

// wasRefused: a token was sent, and is not the one.
function askForToken(wasRefused) {
  byId("token-form").hidden = false;
  byId("token-label").textContent = wasRefused
    ? "That is not this server's token; try again"
    : "This server asks for a token";
  byId("token").focus();
}

function rescoreAll() {
  for (const field of fields.values()) {
    delete field.result;
    delete field.rows;
    delete field.refused;
    delete field.picture;
    delete field.isThinned;
  }
  if (fields.size) regroup();
}

function clearAll() {
  round += 1;
  files = [];
  fields = new Map();
  current = null;
  view.hide();
  list.show([]);
  document.body.classList.remove("has-fields");
  byId("progress").hidden = true;
  say("");
  byId("files").focus();
}

// A defect of the page is said as well, in one line.
for (const kind of ["error", "unhandledrejection"]) {
  window.addEventListener(kind, (event) => {
    const reason = event.message ?? event.reason?.message ?? "unknown";
    say(`The page has stopped: ${reason}. Load it again.`, true);
  });
}

for (const id of ["files", "folder"]) {
  byId(id).addEventListener("change", (event) => {
    addAll(chosenFiles(event.target.files));
    // The same file can be chosen again.
    event.target.value = "";
  });
}

takeFiles(addAll);

byId("settings-form").addEventListener("submit", (event) => event.preventDefault());
byId("settings-form").addEventListener("change", rescoreAll);
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  scorer.setToken(byId("token").value.trim());
  byId("token-form").hidden = true;
  rescoreAll();
});
byId("clear").addEventListener("click", clearAll);
byId("download").addEventListener("click", () => {
  download("labels.csv", tableOf([...fields.values()], description));
});

describeNet(page);
say(page.mode === "server" ? "Starting ..." : "Loading the net ...");
engine.ready.then(
  () => {
    document.documentElement.dataset.ready = "yes";
    if (fields.size === 0) say("Ready.");
  },
  (error) => say(`The net cannot be run here: ${error.message}`, true),
);
