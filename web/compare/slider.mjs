/** Two pictures of one thing on one stage, parted by a line that pointer and keys move. */

import { button, h, say, show } from "../dom.mjs";
import { listen } from "./gestures.mjs";
import { View } from "./view.mjs";

const LARGE = { icon: "window-maximize", title: "Open large" };
const COARSE = 3; // from so many screen points a pixel on, pixels are shown as squares

export class Slider {
  pairs = [];
  #index = 0;
  #chosen = false;
  #at = 50;
  #view = new View();

  /**
   * `enlarge(index)`, if given, is called by a button; `empty` is shown without pictures.
   * `failed(pair)` is called with one that cannot be shown.
   */
  constructor({ enlarge = null, empty = "No pictures yet.", failed = () => {} } = {}) {
    this.before = layer("before");
    this.after = layer("after");
    this.message = h("p", { class: "rf-message" }, empty);
    this.empty = empty;
    this.stage = h(
      "div",
      { class: "rf-stage", tabIndex: 0, role: "slider", "aria-label": "Before and after" },
      this.after.element,
      this.before.element,
      h("div", { class: "rf-divider", "aria-hidden": "true" }),
      h("span", { class: "rf-label rf-left" }, "Before"),
      h("span", { class: "rf-label rf-right" }, "After"),
      this.message,
    );
    this.stage.setAttribute("aria-valuemin", 0);
    this.stage.setAttribute("aria-valuemax", 100);
    this.previous = button(null, () => this.page(-1), { icon: "chevron-left", title: "Previous" });
    this.next = button(null, () => this.page(1), { icon: "chevron-right", title: "Next" });
    this.place = h("span", { class: "rf-place", role: "status" });
    this.name = h("span", { class: "rf-name" });
    this.pages = h("span", { class: "rf-line" }, this.previous, this.place, this.next);
    this.tools = h(
      "div",
      { class: "rf-line rf-tools" },
      this.pages,
      this.name,
      button("1:1", () => this.actual(), { title: "A pixel of the picture, one of the screen" }),
      button("Fit", () => this.reset()),
      enlarge && button(null, () => enlarge(this.#index), LARGE),
    );
    this.element = h("div", { class: "rf rf-compare" }, this.stage, this.tools);
    for (const { picture } of [this.before, this.after]) {
      picture.onload = () => this.#draw();
      picture.onerror = () => {
        const pair = this.pairs[this.#index];
        if (!pair) return; // they were taken away meanwhile
        this.#tell(`${pair.name} cannot be shown.`);
        failed(pair);
      };
    }
    new ResizeObserver(() => this.#draw()).observe(this.stage);
    listen(this.stage, this);
    this.show([]);
  }

  /** Show pairs `{id, name, before, after}`; with `keep`, the one that a person has turned to. */
  show(pairs, { index = 0, keep = false } = {}) {
    const current = this.pairs[this.#index];
    this.pairs = pairs;
    const kept = keep && this.#chosen ? pairs.findIndex((pair) => pair.id === current?.id) : -1;
    if (kept < 0) this.#chosen = false;
    this.#turn(kept < 0 ? index : kept);
  }

  page(step) {
    const wanted = this.#index + step;
    if (!this.pairs[wanted]) return;
    this.#chosen = true;
    this.#turn(wanted);
  }

  moveTo(percent) {
    this.#at = Math.min(100, Math.max(0, percent));
    this.#draw();
  }

  moveBy(percent) {
    this.moveTo(this.#at + percent);
  }

  zoomAt(factor, x, y) {
    this.#view.zoomAt(factor, x, y);
    this.#draw();
  }

  pan(x, y) {
    this.#view.pan(x, y);
    this.#draw();
  }

  /** The whole picture, parted in the middle. */
  reset() {
    this.#view.fit();
    this.moveTo(50);
  }

  /** One pixel of the larger picture on one of the screen. */
  actual() {
    this.#view.scale = 1 / devicePixelRatio;
    this.#draw();
  }

  #turn(index) {
    this.#index = index;
    const pair = this.pairs[index];
    const count = this.pairs.length;
    for (const [which, part] of Object.entries({ before: this.before, after: this.after })) {
      show(part.element, Boolean(pair));
      if (!pair) part.picture.removeAttribute("src"); // to be asked for anew
      else if (part.picture.getAttribute("src") !== pair[which]) part.picture.src = pair[which];
    }
    this.#tell(pair ? "" : this.empty);
    this.element.classList.toggle("rf-without", !pair);
    say(this.place, `${index + 1} / ${count}`);
    say(this.name, pair?.name ?? "");
    this.name.title = pair?.name ?? "";
    show(this.pages, count > 1);
    this.previous.disabled = index === 0;
    this.next.disabled = index >= count - 1;
    this.#draw();
  }

  #tell(text) {
    say(this.message, text);
    show(this.message, text !== "");
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || !height) return;
    const [before, after] = [size(this.before), size(this.after)];
    const larger = after.width >= before.width ? after : before;
    if (larger.width) this.#view.resize({ width, height }, larger);
    const { x, y, zoom, box, scale } = this.#view;
    for (const { sheet } of [this.before, this.after]) {
      sheet.style.width = `${box.width}px`;
      sheet.style.height = `${box.height}px`;
      sheet.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
      sheet.classList.toggle("rf-coarse", scale > COARSE);
    }
    this.stage.style.setProperty("--rf-at", `${this.#at}%`);
    this.stage.setAttribute("aria-valuenow", Math.round(this.#at));
    this.stage.setAttribute("aria-valuetext", `${Math.round(this.#at)} % before`);
  }
}

function layer(which) {
  const picture = h("img", { alt: "", draggable: false });
  const sheet = h("div", { class: "rf-sheet" }, picture);
  return { picture, sheet, element: h("div", { class: `rf-layer rf-${which}` }, sheet) };
}

const size = ({ picture }) => ({ width: picture.naturalWidth, height: picture.naturalHeight });
