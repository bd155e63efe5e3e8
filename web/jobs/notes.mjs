/** What could not be carried into the results of the photos done last. */

import { h, Rows, say, show } from "../dom.mjs";
import { photoRow } from "./failures.mjs";
import { photos } from "./words.mjs";

export class Notes {
  constructor() {
    this.summary = h("summary");
    const list = h("ul", { class: "rf-failures" });
    this.rows = new Rows(list, photoRow((photo) => photo.notes.join(" ")));
    this.element = h("details", { class: "rf-more", hidden: true }, this.summary, list);
  }

  update(latest) {
    const noted = latest.filter((photo) => photo.notes?.length);
    say(this.summary, `${photos(noted.length)} with a note, of the last ${latest.length}`);
    show(this.element, noted.length > 0);
    this.rows.show(noted);
  }
}
