// What the page says of its net and of itself.

function describeNet({ description, mode }) {
  const size = description.input.shape[1];
  const labels = plural(description.labels.length, "label");
  const name = description.title;
  byId("net").textContent = `${name} · ${labels} · looks at ${size} × ${size} pixels`;
  const rescales = Boolean(description.preparation?.rescaled_to);
  byId("pixel-size-option").hidden = !rescales;
  byId("about-text").replaceChildren(...aboutParagraphs(description, mode));
}

function aboutParagraphs(description, mode) {
  const where =
    mode === "server"
      ? "Images are sent to the server that this page came from, and to nobody else."
      : "Everything happens in this file: it makes no request, and your images stay on this machine. " +
        "The browser is told to forbid any connection.";
  const facts = [
    ["Net", description.title],
    ["Checkpoint", description.provenance?.checkpoint ?? "unknown"],
    ["Written by", `hpa_jax ${description.provenance?.hpa_jax ?? ""}`],
    ["Trained on", (description.preparation?.datasets ?? []).join(", ") || "not recorded"],
    isSingleLabel(description)
      ? ["Decides", "for the most probable label: each image has one"]
      : ["Thresholds from", description.thresholds_fitted_on ?? "none: 0.5 for each label"],
  ];
  const list = element("dl");
  for (const [term, text] of facts) {
    list.append(element("dt", {}, term), element("dd", {}, String(text)));
  }
  return [
    element("p", {}, where),
    element(
      "p",
      {},
      "It is no medical device. Its labels follow from the stains and the cell lines of its training " +
        "images; a score is no probability that a protein is somewhere, and a label that is not " +
        "listed may still be there.",
    ),
    list,
  ];
}
