// Which field and which channel a file is of, by its name.
//
//   ID_red.png  ID-red.png  ID.red.png  "ID red.png"     red after the Id
//   red_ID.png                                           before it
//   ID/red.png                                           the folder is the Id
//   red/ID.png                                           the folder is the channel
//
// A file whose name has no channel is taken for a composite, a field of its own.

const CHANNEL_NAMES = ["red", "green", "blue", "yellow"];

// {id, channel}: channel is null for a composite. names: the user's, by channel.
function placeOf(path, names) {
  const parts = path.split("/");
  const file = parts.pop();
  const stem = file.replace(/\.[A-Za-z0-9]+$/, "");
  const folder = parts.pop() ?? "";
  for (const channel of CHANNEL_NAMES) {
    const name = names[channel].trim();
    if (!name) continue;
    const id = idBeside(stem, name);
    if (id !== null) return { id: id || folder || "field", channel };
    if (folder.toLowerCase() === name.toLowerCase()) return { id: stem, channel };
  }
  return { id: stem, channel: null };
}

// What is left of a name without the channel's; null if that is not in it.
function idBeside(stem, name) {
  const lower = stem.toLowerCase();
  const channel = name.toLowerCase();
  if (lower === channel) return "";
  for (const separator of ["_", "-", ".", " "]) {
    if (lower.endsWith(separator + channel)) return stem.slice(0, -channel.length - 1);
  }
  for (const separator of ["_", "-", ".", " "]) {
    if (lower.startsWith(channel + separator)) return stem.slice(channel.length + 1);
  }
  return null;
}

// Puts files to their fields: a Map of Id to [{file, path, channel}], which is changed in place.
// A file of the same place replaces the one that was there.
function addFiles(fields, files, names) {
  const touched = new Set();
  for (const { file, path } of files) {
    const { id, channel } = placeOf(path, names);
    const of = fields.get(id) ?? [];
    const others = of.filter((entry) => entry.channel !== channel);
    fields.set(id, [...others, { file, path, channel }]);
    touched.add(id);
  }
  return touched;
}

function sortedEntries(entries) {
  const order = (entry) => CHANNEL_NAMES.indexOf(entry.channel);
  return [...entries].sort((one, other) => order(one) - order(other));
}
