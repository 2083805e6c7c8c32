// All fields: a row each, with its labels or why it was refused.

const LIST_PICTURE = 56;
const LIST_LABELS = 4; // of a field; the others are counted

class FieldList {
  constructor(description, onOpen) {
    this.description = description;
    this.onOpen = onOpen;
    this.section = byId("list");
    this.body = byId("list-table").tBodies[0];
    this.rows = new Map();
    this.body.addEventListener("keydown", (event) => this.moveFocus(event));
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

  // Up and down go from row to row, beside the tab key.
  moveFocus(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    const buttons = [...this.body.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
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
    const tags = found
      .slice(0, LIST_LABELS)
      .map((row) => element("li", { class: "tag" }, `${row.name} ${row.score.toFixed(2)}`));
    const others = found.length - tags.length;
    if (others > 0) tags.push(element("li", { class: "soft" }, `and ${others} more`));
    if (tags.length === 0) tags.push(element("li", { class: "soft" }, "no label"));
    for (const channel of missed(field.result, this.description)) {
      tags.push(element("li", { class: "mark" }, `without ${channel}`));
    }
    return element("ul", { class: "tags" }, ...tags);
  }
}
