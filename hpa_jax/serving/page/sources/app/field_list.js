// All fields: a row each, with its labels or why it was refused.

const LIST_PICTURE = 56;

class FieldList {
  constructor(description, onOpen) {
    this.description = description;
    this.onOpen = onOpen;
    this.section = byId("list");
    this.body = byId("list-table").tBodies[0];
    this.rows = new Map();
  }

  show(fields) {
    this.section.hidden = fields.length === 0;
    byId("list-title").textContent = plural(fields.length, "field");
    this.rows = new Map(fields.map((field) => [field.id, this.row(field)]));
    this.body.replaceChildren(...this.rows.values());
  }

  update(field) {
    const fresh = this.row(field);
    this.rows.get(field.id)?.replaceWith(fresh);
    this.rows.set(field.id, fresh);
  }

  mark(id) {
    for (const [of, row] of this.rows) {
      row.querySelector("button").setAttribute("aria-current", String(of === id));
    }
  }

  row(field) {
    // Drawn once: the planes that it was drawn from are not kept for ever.
    field.picture ??= this.picture(field.result?.preview);
    const picture = field.picture ?? element("span", { class: "blank" });
    const button = element("button", { type: "button", class: "open" }, picture, field.id);
    button.addEventListener("click", () => this.onOpen(field.id, true));
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, button),
      element("td", {}, this.answer(field)),
    );
  }

  picture(preview) {
    if (!preview) return null;
    const canvas = element("canvas", { "aria-hidden": "true" });
    const rgba = paint(preview, brightened(preview.planes), "all");
    showSmall(canvas, preview, rgba, 2 * LIST_PICTURE);
    return canvas;
  }

  answer(field) {
    if (field.refused) return element("span", { class: "refused" }, field.refused);
    if (!field.result) return element("span", { class: "soft" }, "waiting ...");
    const found = ranked(field.rows).filter((row) => row.found);
    const tags = found.map((row) =>
      element("span", { class: "tag" }, `${row.name} ${row.score.toFixed(2)}`),
    );
    if (tags.length === 0) tags.push(element("span", { class: "soft" }, "no label"));
    for (const channel of missed(field.result, this.description)) {
      tags.push(element("span", { class: "mark" }, `without ${channel}`));
    }
    return element("span", { class: "tags" }, ...tags);
  }
}
