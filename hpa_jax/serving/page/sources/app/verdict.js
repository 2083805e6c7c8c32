// What follows from a net's scores: which labels, and how sure that is.

// [{name, score, threshold, found}] in the order of the net's labels.
function verdictOf(probabilities, description) {
  const { labels, thresholds } = description;
  if (isSingleLabel(description)) return mostProbable(probabilities, labels);
  const rows = labels.map((label, i) => ({
    index: i,
    name: label.name,
    score: probabilities[i],
    // As precise as the scores that it is compared with.
    threshold: Math.fround(thresholds[i]),
    found: probabilities[i] > Math.fround(thresholds[i]),
  }));
  // Some runs decide for the nearest label where none is above its threshold.
  const fills = description.empty && description.empty !== "no label";
  if (fills && !rows.some((row) => row.found)) {
    rows.reduce(nearer).found = true;
  }
  return rows;
}

// Each image has exactly one label: no threshold decides.
function isSingleLabel(description) {
  return description.decision === "argmax";
}

// The first of equal ones is found.
function mostProbable(probabilities, labels) {
  const largest = labels.reduce((best, _, i) => (probabilities[i] > probabilities[best] ? i : best), 0);
  return labels.map((label, i) => ({
    index: i,
    name: label.name,
    score: probabilities[i],
    threshold: null,
    found: i === largest,
  }));
}

function nearer(one, other) {
  return nearness(other) > nearness(one) ? other : one;
}

// Above 1 a label is found; a threshold of 0 counts as far away.
function nearness(row) {
  if (row.threshold === null) return row.score;
  return row.threshold > 0 ? row.score / row.threshold : 0;
}

// The found ones first, by their score; then the others, by how near each is to its threshold.
function ranked(rows) {
  return [...rows].sort((one, other) => {
    if (one.found !== other.found) return one.found ? -1 : 1;
    return one.found ? other.score - one.score : nearness(other) - nearness(one);
  });
}

// {right, total, pooled} of scores like this one on images that the net was not trained on: how many
// of them had the label. Of all labels together where this one has too few; null if nothing is known.
const ENOUGH = 10;

function howSure(row, calibration) {
  if (!calibration) return null;
  const bin = calibration.edges.findIndex((edge) => row.score <= edge);
  const at = bin < 0 ? calibration.edges.length - 1 : bin;
  const own = {
    total: calibration.total[row.index][at],
    right: calibration.positives[row.index][at],
  };
  if (own.total >= ENOUGH) return { ...own, pooled: false };
  const sum = (table) => table.reduce((total, counts) => total + counts[at], 0);
  const all = { total: sum(calibration.total), right: sum(calibration.positives) };
  return all.total >= ENOUGH ? { ...all, pooled: true } : null;
}

// Channels that were black though the net knows them.
function missed(result, description) {
  const trained = description.preparation?.channels;
  return result.missing.filter((channel) => !trained?.length || trained.includes(channel));
}
