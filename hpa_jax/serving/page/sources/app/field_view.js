// One field in full: its pictures beside its labels.

const VIEWS = ["all", "red", "green", "blue", "yellow"];
const THUMBNAIL = 96;
const IN_WORDS = 3; // labels that have a line of their own; few fields have more

// Under a small picture; a soft hyphen says where a long word may break.
const SHORT_WORDS = {
  all: "all",
  red: "micro\u00adtubules",
  green: "protein",
  blue: "nucleus",
  yellow: "ER",
};

class FieldView {
  // onStep(-1 or 1) goes to the field before or after this one.
  constructor(description, onStep) {
    this.description = description;
    this.onStep = onStep;
    this.section = byId("field");
    this.shown = "all";
    this.bright = true;
    this.label = null;
    this.field = null;
  }

  hide() {
    this.field = null;
    this.section.hidden = true;
  }

  // place: {number, of}, among all fields.
  open(field, place) {
    this.field = field;
    this.label = null;
    this.section.hidden = false;
    const title = element("h2", { id: "field-title", tabindex: "-1" }, field.id);
    const parts = [element("div", { class: "title-row" }, title, this.steps(place))];
    if (field.refused) {
      parts.push(element("p", { class: "refused" }, field.refused));
    } else if (!field.result) {
      parts.push(element("p", { class: "soft" }, "Waiting ..."));
    } else {
      const marks = this.marks(field.result);
      if (marks.length) parts.push(element("p", { class: "tags" }, ...marks));
      parts.push(element("div", { class: "columns" }, this.pictures(), this.labels()));
    }
    this.section.replaceChildren(...parts);
    if (field.result) this.draw();
  }

  steps({ number, of }) {
    if (of < 2) return null;
    const step = (by, sign, name, isLast) =>
      element(
        "button",
        {
          type: "button",
          class: "button plain step",
          "aria-label": name,
          disabled: isLast,
          onclick: () => this.onStep(by),
        },
        sign,
      );
    return element(
      "div",
      { class: "steps", role: "group", "aria-label": "Other fields" },
      step(-1, "‹", "Field before", number === 1),
      element("span", { class: "soft" }, `${number} of ${of}`),
      step(1, "›", "Next field", number === of),
    );
  }

  marks(result) {
    const marks = missed(result, this.description).map((channel) => `without ${channel}`);
    if (result.notes.length > 0) {
      marks.push(`beside the training images: ${result.notes.join(", ")}`);
    }
    return marks.map((text) => element("span", { class: "mark" }, text));
  }

  pictures() {
    const { preview } = this.field.result;
    if (!preview) {
      return element("p", { class: "soft" }, "This page shows no pictures of such files.");
    }
    this.planes = this.bright ? brightened(preview.planes) : preview.planes;
    this.big = element("canvas", { class: "big", role: "img" });
    this.caption = element("p", { class: "soft", id: "picture-caption", "aria-live": "polite" });
    const buttons = VIEWS.map((view) => this.channelButton(view));
    this.channelRow = element("div", {
      class: "channels",
      role: "group",
      "aria-label": "Channels",
    });
    this.channelRow.append(...buttons);
    const bright = element("input", { type: "checkbox", id: "bright" });
    bright.checked = this.bright;
    bright.addEventListener("change", () => this.setBright(bright.checked));
    const size = `${preview.nativeWidth} × ${preview.nativeHeight} pixels.`;
    return element(
      "div",
      { class: "pictures" },
      this.big,
      this.channelRow,
      this.caption,
      element(
        "p",
        { class: "option" },
        bright,
        " ",
        element("label", { for: "bright" }, "Brightened to be seen"),
        element("small", {}, `${size} The net gets the values as they are.`),
      ),
    );
  }

  channelButton(view) {
    const { preview } = this.field.result;
    const isThere = view === "all" || preview.planes[view] !== undefined;
    const name = SHORT_WORDS[view];
    const dot = element("span", { class: `dot ${view}` });
    const picture = isThere ? element("canvas") : element("span", { class: "blank" });
    if (isThere) {
      showSmall(picture, preview, paint(preview, this.planes, view), THUMBNAIL);
    }
    const button = element(
      "button",
      { type: "button", "aria-pressed": "false", disabled: !isThere },
      picture,
      dot,
      isThere ? name : `no ${name}`,
    );
    button.dataset.view = view;
    button.addEventListener("click", () => {
      this.shown = view;
      this.draw();
    });
    return button;
  }

  setBright(bright) {
    this.bright = bright;
    const label = this.label;
    const pictures = this.section.querySelector(".pictures");
    pictures.replaceWith(this.pictures());
    this.label = label;
    this.draw();
    byId("bright").focus();
  }

  labels() {
    const { rows, result } = this.field;
    const canLook = result.maps && result.preview;
    const choose = canLook ? (label) => this.choose(label) : null;
    const look = canLook
      ? "Choose a label to see what in the image speaks for it."
      : result.preview
        ? "What the net looked at cannot be shown: the head of this net has no map."
        : "What the net looked at is shown on pictures alone.";
    return element(
      "div",
      {},
      this.verdict(rows),
      element("p", { class: "soft" }, look),
      labelTable(rows, this.description, choose),
      element("p", { class: "soft" }, calibrationNote(this.description)),
    );
  }

  verdict(rows) {
    const found = ranked(rows).filter((row) => row.found);
    const { calibration } = this.description;
    if (found.length === 0) {
      const nearest = ranked(rows)[0];
      return element(
        "div",
        { class: "verdict" },
        element("b", {}, "No label"),
        element(
          "p",
          { class: "soft" },
          `None is above its threshold. The nearest is ${nearest.name}: ${nearest.score.toFixed(3)} of ` +
            `${nearest.threshold.toFixed(3)}.`,
        ),
      );
    }
    const items = found.slice(0, IN_WORDS).map((row) => {
      const sure = sureSentence(row, calibration);
      const words = sure ? element("span", { class: "soft" }, sure) : null;
      const score = element("span", { class: "score" }, row.score.toFixed(3));
      return element("li", {}, element("b", {}, row.name), " ", score, words);
    });
    const others = found.slice(IN_WORDS).map((row) => `${row.name} ${row.score.toFixed(3)}`);
    if (others.length > 0) items.push(element("li", {}, `Also ${others.join(", ")}.`));
    const whose = found.length === 1 ? "its" : "their";
    const title = isSingleLabel(this.description)
      ? "The most probable label"
      : `${plural(found.length, "label")} above ${whose} threshold`;
    return element(
      "div",
      { class: "verdict" },
      element("h3", {}, title),
      element("ul", {}, ...items),
    );
  }

  choose(label) {
    this.label = this.label === label ? null : label;
    // Colours upon colours say little; the labels are about the protein.
    if (this.label !== null && this.shown === "all") this.shown = "green";
    this.draw();
  }

  draw() {
    const { result } = this.field;
    for (const button of this.section.querySelectorAll("[data-label]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.label) === this.label));
    }
    if (!result.preview) return;
    if (this.shown !== "all" && result.preview.planes[this.shown] === undefined) this.shown = "all";
    for (const button of this.channelRow.children) {
      button.setAttribute("aria-pressed", String(button.dataset.view === this.shown));
    }
    const rgba = paint(result.preview, this.planes, this.shown);
    const what =
      this.shown === "all"
        ? "False colours: microtubules red, protein green, nucleus blue, ER yellow."
        : `The ${CHANNEL_WORDS[this.shown]}, in gray.`;
    const words = [what];
    if (this.label !== null) words.push(this.drawHeat(rgba));
    show(this.big, result.preview, rgba);
    this.caption.textContent = words.join(" ");
    this.big.setAttribute("aria-label", words.join(" "));
  }

  drawHeat(rgba) {
    const { maps, preview, frame } = this.field.result;
    const { labels } = this.description;
    const heat = heatOf(maps, this.label, labels.length, preview, frame);
    const { name } = labels[this.label];
    if (heat === null) return `Nothing in it speaks for ${name}.`;
    tint(rgba, preview, heat);
    return `Orange: what speaks for ${name}, outlined at half of its largest value.`;
  }
}
