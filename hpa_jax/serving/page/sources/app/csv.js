// The table to download: a row a field.

// A spreadsheet would run a cell that begins so as a formula.
const FORMULA = /^[=+\-@\t\r]/;

function csvCell(text) {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// Scores with all their digits: the shortest that give the same float32 again.
function csvScore(score) {
  for (let digits = 1; digits < 9; digits++) {
    const text = Number(score.toPrecision(digits));
    if (Math.fround(text) === score) return String(text);
  }
  return String(Number(score.toPrecision(9)));
}

function tableOf(fields, description) {
  const names = description.labels.map((label) => label.name);
  const lines = [["Id", "Predicted", "labels", ...names, "missing", "refused"]];
  for (const field of fields) {
    if (!field.result && !field.refused) continue;
    const found = field.rows?.filter((row) => row.found) ?? [];
    const ids = found.map((row) => description.labels[row.index].id);
    lines.push([
      field.id,
      ids.join(" "),
      found.map((row) => row.name).join("; "),
      ...names.map((_, i) => (field.rows ? csvScore(field.rows[i].score) : "")),
      (field.result?.missing ?? []).join(" "),
      field.refused ?? "",
    ]);
  }
  return lines.map((line) => line.map((cell) => csvCell(String(cell))).join(",") + "\r\n").join("");
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = element("a", { href: url, download: name });
  link.click();
  // Not at once: the browser has to have begun.
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
