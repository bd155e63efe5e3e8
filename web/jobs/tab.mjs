/** The sidebar tab: one for the page, so that what was typed or opened is there when it returns. */

import { Viewer } from "../compare/viewer.mjs";
import { h } from "../dom.mjs";
import { Canvas } from "./canvas.mjs";
import { JobList } from "./list.mjs";
import { Poll } from "./poll.mjs";
import { Server } from "./server.mjs";
import { Setup } from "./setup.mjs";

export class Tab {
  constructor(app, api) {
    const server = new Server(api);
    this.list = new JobList(server, new Viewer(), () => this.poll.now());
    this.setup = new Setup(server, new Canvas(app), (job) => {
      this.list.add(job);
      this.poll.now();
    });
    this.poll = new Poll(() => {
      this.setup.look();
      return this.list.look();
    });
    this.element = h(
      "div",
      { class: "rf rf-tab" },
      h("h2", { class: "rf-title" }, "Photo jobs"),
      this.setup.element,
      this.list.element,
    );
    this.setup.drop.listen(this.element);
    // The front end tells of changes by hand; others show as soon as somebody comes to start.
    api.addEventListener("graphChanged", () => this.setup.look());
    this.element.addEventListener("pointerenter", () => this.setup.look());
  }

  /** Into the place that the front end gives; it may do so again for the same place. */
  render(place) {
    if (this.element.parentElement === place) return;
    place.replaceChildren(this.element);
    this.poll.start();
  }

  destroy() {
    this.poll.stop();
    this.element.remove();
  }
}
