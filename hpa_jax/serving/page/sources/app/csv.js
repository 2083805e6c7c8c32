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

// The columns are those of `python -m hpa_jax.serving predict`.
const TAKEN = ["id", "missing", "note", "label_names", "labels", "embedding"];

function tableOf(fields, description) {
  const names = description.labels.map(({ name }) =>
    TAKEN.includes(name) ? `${name} (label)` : name,
  );
  const lines = [["id", "missing", "note", ...names, "label_names", "labels"]];
  for (const field of fields) {
    if (field.refused) {
      lines.push([field.id, "", `refused: ${field.refused}`, ...names.map(() => ""), "", ""]);
    } else if (field.result) {
      lines.push(csvRow(field, description));
    }
  }
  return lines.map((line) => line.map((cell) => csvCell(String(cell))).join(",") + "\n").join("");
}

function csvRow({ id, rows, result }, description) {
  const found = rows.filter((row) => row.found);
  return [
    id,
    result.missing.join(" "),
    result.notes.join(", "),
    ...rows.map((row) => csvScore(row.score)),
    found.map((row) => row.name).join("; "),
    found.map((row) => description.labels[row.index].id).join(" "),
  ];
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = element("a", { href: url, download: name });
  link.click();
  // Not at once: the browser has to have begun.
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
