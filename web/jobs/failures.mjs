/** The photos of a job that failed or are gone, with their reasons, page by page. */

import { button, h, Rows, say, show } from "../dom.mjs";
import { photos } from "./words.mjs";

const PAGE = 50;
const GONE = "It was removed from the folder before it was done.";

export class Failures {
  #count = 0;
  #wanted = PAGE;

  /** `wanted()` asks for a `look` soon. */
  constructor(server, job, wanted) {
    Object.assign(this, { server, job, wanted });
    this.summary = h("summary");
    const list = h("ul", { class: "rf-failures" });
    this.rows = new Rows(list, photoRow(reason));
    this.more = button("Show more", () => this.#showMore());
    this.element = h("details", { class: "rf-more" }, this.summary, list, this.more);
    this.element.ontoggle = wanted;
    show(this.more, false);
  }

  count(failed, gone) {
    this.#count = failed + gone;
    const kinds = [failed && `${photos(failed)} failed`, gone && `${photos(gone)} gone`];
    say(this.summary, kinds.filter(Boolean).join(", "));
    show(this.element, this.#count > 0);
  }

  /** Ask for as many as are shown, if they are. */
  async look() {
    if (!this.element.open || this.element.hidden) return;
    const found = [];
    let last = [];
    do {
      const after = found.at(-1)?.place ?? "";
      ({ photos: last } = await this.#page(after));
      found.push(...last);
    } while (last.length === PAGE && found.length < this.#wanted);
    this.rows.show(found);
    show(this.more, found.length < this.#count);
  }

  #page(after) {
    const states = ["failed", "gone"].map((state) => ["state", state]);
    return this.server.get(`/jobs/${this.job}/photos`, [...states, ["after", after], ["count", PAGE]]);
  }

  #showMore() {
    this.#wanted += PAGE;
    this.wanted();
  }
}

/** Many a reason begins with the photo's path, which stands above it already. */
function reason({ state, path, error }) {
  const text = state === "gone" ? GONE : (error ?? "");
  return text.startsWith(`${path} `) ? text.slice(path.length + 1) : text;
}

/** Makes a list's rows: a photo's path, and below it what `sentence(photo)` says. */
export const photoRow = (sentence) => () => {
  const path = h("span", { class: "rf-path" });
  const text = h("span", { class: "rf-reason" });
  const update = (photo) => {
    say(path, photo.path);
    say(text, sentence(photo));
  };
  return { element: h("li", {}, path, text), update };
};
