// Files that are dropped or chosen, those in folders too: [{file, path}].

// What lies about in folders and is never an image.
const NEVER_IMAGES = /(^|\/)(\.[^/]*|Thumbs\.db|desktop\.ini)$|\.(csv|tsv|txt|json|xml|md|html?)$/i;

function chosenFiles(list) {
  const files = [];
  for (const file of list) {
    const path = file.webkitRelativePath || file.name;
    if (!NEVER_IMAGES.test(path) || list.length === 1) files.push({ file, path });
  }
  return files;
}

async function droppedFiles(transfer) {
  // Entries must be taken before the first wait: the transfer is emptied then.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return chosenFiles(transfer.files);
  const files = [];
  for (const entry of entries) await collect(entry, entry.name, files);
  return files.filter(({ path }) => !NEVER_IMAGES.test(path));
}

async function collect(entry, path, files) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    files.push({ file, path });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A call gives some hundred entries at most.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const child of some) await collect(child, `${path}/${child.name}`, files);
  }
}

// onFiles([{file, path}]) is called with what is dropped on the page or pasted into it.
function takeFiles(onFiles) {
  const drop = byId("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    onFiles(await droppedFiles(event.dataTransfer));
  });

  document.addEventListener("paste", (event) => {
    const { files: pasted } = event.clipboardData;
    if (pasted.length > 0) onFiles(chosenFiles(pasted));
  });
  // The whole of the zone is its button, for a pointer.
  drop.addEventListener("click", ({ target }) => {
    if (!target.closest("label, input")) byId("files").click();
  });
}
