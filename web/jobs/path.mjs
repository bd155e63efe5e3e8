/** A path on one line, shortened at its beginning: the end tells folders apart. */

import { h, say } from "../dom.mjs";

export class Path {
  constructor(label = "") {
    this.text = h("bdi");
    const shortened = h("span", { class: "rf-where" }, this.text);
    this.element = h("span", { class: "rf-path-line" }, h("span", {}, label), shortened);
  }

  show(path) {
    say(this.text, path);
    this.element.title = path;
  }
}
