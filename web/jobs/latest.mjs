/** The photos done last, before and after: one in a slider, all in a strip that opens them. */

import { h, Rows, show } from "../dom.mjs";
import { Slider } from "../compare/slider.mjs";
import { Notice } from "./notice.mjs";

const THUMBNAIL = 128; // pixels a side, for screens of two pixels a point
const SMALL = 1024;
const LARGE = 2048;

export class Latest {
  #shown = [];
  #refused = false;

  constructor(server, viewer) {
    Object.assign(this, { server, viewer });
    this.notice = new Notice();
    this.notice.element.classList.add("rf-mild");
    this.slider = new Slider({
      enlarge: (index) => this.#open(index),
      failed: (pair) => this.#askWhy(pair),
    });
    const strip = h("div", { class: "rf-strip", role: "group", "aria-label": "Last photos" });
    this.rows = new Rows(strip, (shot) => this.#thumbnail(shot));
    this.pictures = h("div", { class: "rf-latest" }, this.slider.element, strip);
    this.element = h("div", { hidden: true }, this.notice.element, this.pictures);
  }

  /** The folders may have been allowed since. */
  tryAgain() {
    this.#refused = false;
    this.notice.clear();
  }

  update(photos) {
    if (this.#refused) return;
    this.#shown = photos.flatMap(shots);
    show(this.element, this.#shown.length > 0);
    show(this.pictures, true);
    this.rows.show(this.#shown);
    this.slider.show(this.#pairs(SMALL), { keep: true });
  }

  #pairs(side) {
    return this.#shown.map((shot) => ({
      id: shot.id,
      name: shot.name,
      before: this.#url(shot, "before", side),
      after: this.#url(shot, "after", side),
    }));
  }

  #url(shot, which, side) {
    return this.server.url(...picture(shot, which, side));
  }

  /** A command may work in folders that are not allowed to a page: say so, once for all of them. */
  async #askWhy({ id }) {
    const shot = this.#shown.find((one) => one.id === id);
    const ask = (which) => this.server.get(...picture(shot, which, THUMBNAIL));
    const errors = [await ask("before").catch((why) => why), await ask("after").catch((why) => why)];
    const error = errors.find(({ status }) => status === 400);
    if (!error || this.#refused) return;
    this.#refused = true;
    this.rows.show([]);
    this.slider.show([]);
    show(this.pictures, false);
    const { command } = error;
    this.notice.tell({ message: `Its pictures are not shown: ${error.message}`, command });
  }

  #open(index) {
    this.viewer.open(this.#pairs(LARGE), index);
  }

  #thumbnail(shot) {
    const src = this.#url(shot, "after", THUMBNAIL);
    const onclick = () => this.#open(this.#shown.findIndex((one) => one.id === shot.id));
    const element = h(
      "button",
      { type: "button", class: "rf-thumbnail", onclick, title: shot.name },
      h("img", { alt: `Compare ${shot.name}`, loading: "lazy", src }),
    );
    return { element, update() {} };
  }
}

/** The route of a picture, with its query. */
function picture({ photo, output }, which, side) {
  const query = which === "after" ? { side, output } : { side };
  return [`/photos/${photo.id}/${which}`, query];
}

/** A photo as often as it has outputs. */
function shots(photo) {
  const { outputs } = photo;
  return Array.from({ length: Math.max(1, outputs.length) }, (_, output) => ({
    id: `${photo.id}/${output}`,
    photo,
    output,
    name: outputs.length > 1 ? `${photo.path} (${output + 1} of ${outputs.length})` : photo.path,
  }));
}
