// A field's labels: a row each, with score, threshold and how often such a score was right.

function percent(part, whole) {
  const share = (100 * part) / whole;
  const rounded = share > 0 && share < 1 ? "<1" : Math.round(share);
  return `${rounded}\u00a0%`;
}

// onChoose(index) shows what the net looked at for a label; null where the net has no maps.
function labelTable(rows, description, onChoose) {
  const { calibration } = description;
  const heads = [
    element("th", { scope: "col" }, "Label"),
    element("th", { scope: "col", class: "number" }, "Score"),
    element("td", {}),
  ];
  if (!isSingleLabel(description)) {
    heads.push(element("th", { scope: "col", class: "number threshold" }, "Threshold"));
  }
  if (calibration) {
    heads.push(element("th", { scope: "col", class: "number" }, "How sure"));
  }
  const body = element("tbody");
  for (const row of ranked(rows)) body.append(labelRow(row, calibration, onChoose));
  const head = element("thead", {}, element("tr", {}, ...heads));
  const table = element("table", { class: "labels", "aria-label": "Labels" }, head, body);
  return element("div", {}, element("div", { class: "wide" }, table), moreButton(body, rows));
}

// The found labels and those nearest to be found stand there at once, the others on request.
const NEAREST = 5;

function moreButton(body, rows) {
  const found = rows.filter((row) => row.found).length;
  const others = [...body.rows].slice(found + NEAREST);
  if (others.length === 0) return null;
  for (const row of others) row.hidden = true;
  const button = element(
    "button",
    { type: "button", class: "button plain more", "aria-expanded": "false" },
    `All ${rows.length} labels`,
  );
  button.addEventListener("click", () => {
    const opens = button.getAttribute("aria-expanded") === "false";
    for (const row of others) row.hidden = !opens;
    button.setAttribute("aria-expanded", String(opens));
    button.textContent = opens ? "Fewer labels" : `All ${rows.length} labels`;
  });
  return button;
}

function labelRow(row, calibration, onChoose) {
  let name = row.name;
  if (onChoose) {
    name = element("button", { type: "button", class: "label", "aria-pressed": "false" }, row.name);
    name.dataset.label = row.index;
    name.addEventListener("click", () => onChoose(row.index));
  }
  const cells = [
    element("th", { scope: "row" }, name),
    element("td", { class: "number" }, scoreOf(row)),
    element("td", {}, barOf(row)),
  ];
  if (row.threshold !== null) {
    cells.push(element("td", { class: "number threshold" }, row.threshold.toFixed(3)));
  }
  if (calibration) cells.push(element("td", { class: "number" }, sureCell(row, calibration)));
  return element("tr", { class: row.found ? "above" : null }, ...cells);
}

function scoreOf(row) {
  return element("data", { value: csvScore(row.score) }, row.score.toFixed(3));
}

// For the eye alone: the numbers stand beside it.
function barOf(row) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${100 * row.score}%`;
  if (row.threshold === null) return element("span", { class: "bar", "aria-hidden": "true" }, fill);
  const tick = element("span", { class: "tick" });
  tick.style.left = `${100 * row.threshold}%`;
  return element("span", { class: "bar", "aria-hidden": "true" }, fill, tick);
}

function sureCell(row, calibration) {
  const sure = howSure(row, calibration);
  if (sure === null) return element("span", { class: "soft" }, "few");
  const mark = sure.pooled ? " *" : "";
  const counts = element("small", {}, ` of ${sure.total}${mark}`);
  return element("span", {}, percent(sure.right, sure.total), counts);
}

// In words, for the labels that were found.
function sureSentence(row, calibration) {
  if (!calibration) return "";
  const sure = howSure(row, calibration);
  if (sure === null) {
    return "Too few scores like this one were seen in the evaluation to say how sure.";
  }
  const share = percent(sure.right, sure.total);
  const split = calibration.split;
  if (sure.pooled) {
    return (
      `Of ${sure.total} such scores for any label on ${split} images, ${sure.right} were right ` +
      `(${share}); there were too few for this label alone.`
    );
  }
  return (
    `Of ${sure.total} ${split} images with such a score for this label, ${sure.right} had it ` +
    `(${share}).`
  );
}

function calibrationNote(description) {
  const { calibration } = description;
  const meaning = isSingleLabel(description)
    ? "Each image has one label, the one with the largest score; an image's scores sum to 1. "
    : "A label is found where its score, 0 to 1, is above its threshold, the upright mark on its bar. ";
  if (!calibration) {
    return (
      meaning +
      "How sure that is, is not known: the run had no stored scores when it was exported. " +
      "Evaluate the run, then export it again."
    );
  }
  return (
    meaning +
    `How sure: how many of the ${calibration.images} ${calibration.split} images with such a score ` +
    `had the label; with *, counted over all labels, since this one had fewer than ${ENOUGH}. Images ` +
    "unlike those that the net was trained on can fare worse."
  );
}
