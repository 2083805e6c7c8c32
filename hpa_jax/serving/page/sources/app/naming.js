// Which field and which channel a file is of, by its name; as `predict` finds them in a folder.
//
//   ID_red.png  ID-Red.png  ID.red.png     the channel's name beside the Id
//   ID/red.png  red/ID.png                 in the name of a folder, or alone
//   10_A1_blue_red_green.jpg               several: a composite, which the Atlas calls so
//
// A name is found where it stands by itself: `red` not in `reduced`. A file whose name has none is
// taken for a composite, a field of its own.

const CHANNEL_NAMES = ["red", "green", "blue", "yellow"];

// What a channel is called where the user says nothing.
const USUAL_NAMES = {
  red: ["red", "microtubules", "microtubule", "tubulin"],
  green: ["green", "protein", "antibody"],
  blue: ["blue", "nucleus", "nuclei", "dapi", "hoechst"],
  yellow: ["yellow", "er", "calnexin", "calreticulin"],
};

// The channel of each name, in lower case: the user's where there are any, else the usual ones.
function wordsOf(names) {
  const words = new Map();
  const given = CHANNEL_NAMES.filter((channel) => names[channel].trim());
  for (const channel of CHANNEL_NAMES) {
    const usual = given.length ? [] : USUAL_NAMES[channel];
    const own = names[channel].trim() ? [names[channel].trim().toLowerCase()] : usual;
    for (const word of own) words.set(word, channel);
  }
  return words;
}

function kindOf(character) {
  if (character === undefined) return "end";
  if (/\p{Nd}/u.test(character)) return "digit";
  if (/\p{L}/u.test(character)) return "letter";
  return `${character} itself`;
}

// [{channel, start, end}] of each name in a text, from left to right.
function findChannels(text, words) {
  const found = [];
  const lower = text.toLowerCase();
  for (const [word, channel] of words) {
    for (let at = lower.indexOf(word); at >= 0; at = lower.indexOf(word, at + 1)) {
      const end = at + word.length;
      const isApart =
        kindOf(lower[at - 1]) !== kindOf(lower[at]) &&
        kindOf(lower[end]) !== kindOf(lower[end - 1]);
      const isWithin = found.some((other) => at < other.end && end > other.start);
      if (isApart && !isWithin) found.push({ channel, start: at, end });
    }
  }
  return found.sort((one, other) => one.start - other.start);
}

// A path without the channel's name, and without what joined it to the rest.
function withoutChannel(path, { start, end }) {
  const before = path.slice(0, start).replace(/[-_. ]$/, "");
  const left = before + path.slice(end);
  const parts = left.split("/").map((part) => {
    const bare = part.replace("()", "").replace("[]", "");
    return bare === part ? part : bare.replace(/^[-_. ]+|[-_. ]+$/g, "");
  });
  return parts
    .map((part) => part.replace(/^[-_. ]+/, ""))
    .filter(Boolean)
    .join("/");
}

function stemOf(path) {
  return path.replace(/\.[A-Za-z0-9]+$/, "");
}

// Every way to take a name in a path for its channel: [{id, channel}].
function waysOf(stem, words) {
  return findChannels(stem, words).map((found) => ({
    id: withoutChannel(stem, found) || "field",
    channel: found.channel,
  }));
}

// {id, channel}: channel is null for a composite.
//
// channelsOf: a set of channels by Id, of all files that are there: `red dead_green.png` is the green
// of `red dead` where that has other channels too.
function placeOf(path, words, channelsOf = new Map()) {
  const stem = stemOf(path);
  const ways = waysOf(stem, words);
  const others = (way) => channelsOf.get(way.id)?.size ?? 0;
  const best = ways.reduce((one, way) => (one && others(one) > others(way) ? one : way), null);
  if (best && others(best) > 1) return best;
  const name = stem.slice(stem.lastIndexOf("/") + 1);
  const inName = findChannels(name, words);
  const severalChannels = new Set(inName.map(({ channel }) => channel)).size > 1;
  if (severalChannels) {
    return { id: withoutAll(stem, words), channel: null };
  }
  return ways.at(-1) ?? { id: stem, channel: null };
}

function withoutAll(stem, words) {
  let rest = stem;
  for (;;) {
    const start = rest.lastIndexOf("/") + 1;
    const found = findChannels(rest.slice(start), words);
    if (found.length === 0) return rest;
    const last = found[found.length - 1];
    const shorter = withoutChannel(rest, { start: start + last.start, end: start + last.end });
    // Some are called by their channels alone.
    if (!shorter || shorter.endsWith("/")) return stem;
    rest = shorter;
  }
}

// Puts files to their fields: a Map of Id to [{file, path, channel}] in their channels' order.
function groupFiles(files, names) {
  const words = wordsOf(names);
  const channelsOf = new Map();
  for (const { path } of files) {
    for (const { id, channel } of waysOf(stemOf(path), words)) {
      if (!channelsOf.has(id)) channelsOf.set(id, new Set());
      channelsOf.get(id).add(channel);
    }
  }
  const fields = new Map();
  for (const { file, path } of files) {
    const { id, channel } = placeOf(path, words, channelsOf);
    if (!fields.has(id)) fields.set(id, []);
    fields.get(id).push({ file, path, channel });
  }
  const order = (entry) => CHANNEL_NAMES.indexOf(entry.channel);
  for (const entries of fields.values()) {
    entries.sort((one, other) => order(one) - order(other));
  }
  const shared = sharedFolder([...fields.keys()]);
  return new Map([...fields].map(([id, entries]) => [id.slice(shared.length), entries]));
}

// The folders that all Ids begin with, with a slash, or nothing.
function sharedFolder(ids) {
  let shared = ids.length ? ids[0].slice(0, ids[0].lastIndexOf("/") + 1) : "";
  while (!ids.every((id) => id.startsWith(shared))) {
    shared = shared.slice(0, shared.lastIndexOf("/", shared.length - 2) + 1);
  }
  return shared;
}
