/** The photos done last, before and after: one in a slider, all in a strip that opens them. */

import { h, Rows, show } from "../dom.mjs";
import { Slider } from "../compare/slider.mjs";

const THUMBNAIL = 128; // pixels a side, for screens of two pixels a point
const SMALL = 1024;
const LARGE = 2048;

export class Latest {
  #shown = [];

  constructor(server, viewer) {
    Object.assign(this, { server, viewer });
    this.slider = new Slider({ enlarge: (index) => this.#open(index) });
    const strip = h("div", { class: "rf-strip", role: "group", "aria-label": "Last photos" });
    this.rows = new Rows(strip, (shot) => this.#thumbnail(shot));
    this.element = h("div", { class: "rf-latest", hidden: true }, this.slider.element, strip);
  }

  update(photos) {
    this.#shown = photos.flatMap(shots);
    show(this.element, this.#shown.length > 0);
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

  #url({ photo, output }, which, side) {
    const query = which === "after" ? { side, output } : { side };
    return this.server.url(`/photos/${photo.id}/${which}`, query);
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
