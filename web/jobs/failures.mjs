/** The photos of a job that failed, with their reasons, page by page. */

import { button, h, Rows, say, show } from "../dom.mjs";
import { photos } from "./words.mjs";

const PAGE = 50;

export class Failures {
  #count = 0;
  #wanted = PAGE;

  /** `wanted()` asks for a `look` soon. */
  constructor(server, job, wanted) {
    Object.assign(this, { server, job, wanted });
    this.summary = h("summary");
    const list = h("ul", { class: "rf-failures" });
    this.rows = new Rows(list, row);
    this.more = button("Show more", () => this.#showMore());
    this.element = h("details", { class: "rf-more" }, this.summary, list, this.more);
    this.element.ontoggle = wanted;
    show(this.more, false);
  }

  count(count) {
    this.#count = count;
    say(this.summary, `${photos(count)} failed`);
    show(this.element, count > 0);
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
    return this.server.get(`/jobs/${this.job}/photos`, { state: "failed", after, count: PAGE });
  }

  #showMore() {
    this.#wanted += PAGE;
    this.wanted();
  }
}

function row() {
  const path = h("span", { class: "rf-path" });
  const reason = h("span", { class: "rf-reason" });
  const update = (photo) => {
    say(path, photo.path);
    say(reason, photo.error ?? "");
  };
  return { element: h("li", {}, path, reason), update };
}
