/** A progress bar of several kinds of progress, one behind the other. */

import { h } from "../dom.mjs";

export class Bar {
  constructor(label) {
    this.element = h("div", { class: "rf-bar", role: "progressbar", "aria-label": label });
    this.parts = new Map();
  }

  /** `parts` are `[kind, amount]` in their order; `text` is what a screen reader says. */
  show(parts, total, text) {
    let amount = 0;
    for (const [kind, share] of parts) {
      amount += share;
      this.#part(kind).style.width = `${total ? (100 * share) / total : 0}%`;
    }
    this.element.setAttribute("aria-valuemin", 0);
    this.element.setAttribute("aria-valuemax", 100);
    this.element.setAttribute("aria-valuenow", total ? Math.round((100 * amount) / total) : 0);
    this.element.setAttribute("aria-valuetext", text);
  }

  #part(kind) {
    if (!this.parts.has(kind)) {
      const part = h("span", { class: `rf-${kind}` });
      this.parts.set(kind, part);
      this.element.append(part);
    }
    return this.parts.get(kind);
  }
}
