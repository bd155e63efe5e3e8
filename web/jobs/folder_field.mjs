/** A folder of the server: typed or pasted, or found by going down from the allowed ones. */

import { button, h, show } from "../dom.mjs";
import { Path } from "./path.mjs";

let count = 0;

export class FolderField {
  #place = null;

  /**
   * `write`: whether results go there. `suggest(path)` makes of a folder gone to what is entered.
   * `changed(path)` is called whenever it holds another path; `failed(error)` with what is refused.
   */
  constructor(server, label, { write = false, suggest = (path) => path, changed, failed }) {
    Object.assign(this, { server, write, suggest, changed, failed });
    const id = `rf-folder-${count++}`;
    this.input = h("input", { id, class: "rf-input", type: "text", spellcheck: false });
    this.input.onchange = () => this.changed(this.value);
    const title = `Browse for ${label.toLowerCase()}`;
    this.browse = button(null, () => this.#toggle(), { icon: "folder-open", title });
    this.browse.setAttribute("aria-expanded", "false");
    this.where = new Path();
    this.list = h("ul", { class: "rf-folders" });
    this.up = button(null, () => this.#go(this.#place.parent), { icon: "arrow-up", title: "Up" });
    this.up.disabled = true;
    const head = h("div", { class: "rf-line" }, this.up, this.where.element);
    this.panel = h("div", { class: "rf-browser", hidden: true }, head, this.list);
    this.element = h(
      "div",
      { class: "rf-field" },
      h("label", { htmlFor: id }, label),
      h("div", { class: "rf-line" }, this.input, this.browse),
      this.panel,
    );
  }

  get value() {
    return this.input.value.trim();
  }

  set value(path) {
    this.input.value = path;
    this.input.title = path;
    this.input.scrollLeft = this.input.scrollWidth; // the end tells folders apart
  }

  async #toggle() {
    const open = this.panel.hidden;
    show(this.panel, open);
    this.browse.setAttribute("aria-expanded", String(open));
    if (open) await this.#go(this.#place?.path ?? null);
  }

  /** Show what is in a folder; null shows the allowed folders themselves. */
  async #go(path) {
    try {
      this.#place = await (path === null ? this.#roots() : this.#inside(path));
    } catch (error) {
      return this.failed(error);
    }
    this.failed(null);
    const { parent, folders } = this.#place;
    const hadFocus = this.panel.contains(document.activeElement);
    this.up.disabled = path === null;
    this.#place.parent = parent ?? null;
    this.where.show(path ?? "Allowed folders");
    this.list.replaceChildren(...folders.map((folder) => this.#row(folder)));
    if (!folders.length) this.list.append(h("li", { class: "rf-quiet" }, "No folders in here."));
    if (path !== null) this.#enter(path);
    if (hadFocus) (this.list.querySelector("button") ?? this.up).focus();
  }

  #inside(path) {
    return this.server.get("/folders/inside", { path });
  }

  async #roots() {
    const { roots } = await this.server.get("/folders");
    return { path: null, parent: null, folders: roots.filter((root) => root.write || !this.write) };
  }

  #row({ name, path }) {
    const options = { icon: "folder", kind: "rf-folder", title: path };
    return h("li", {}, button(name, () => this.#go(path), options));
  }

  #enter(path) {
    this.value = this.suggest(path);
    this.changed(this.value);
  }
}
