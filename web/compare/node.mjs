/** The slider on the node Before / After, in the classic canvas and in Nodes 2.0. */

import { addTo, afterRuns, keyOf } from "../node_widget.mjs";
import { Slider } from "./slider.mjs";
import { Viewer } from "./viewer.mjs";

const NODE = "RestoreFlowBeforeAfter";
const WIDGET = { name: "compare", type: "RESTOREFLOW_COMPARE", least: 260, size: [360, 380] };

export class BeforeAfter {
  #sliders = new WeakMap();
  #remembered = new Map();
  #viewer = new Viewer();

  constructor(app, api) {
    this.app = app;
    this.api = api;
  }

  created(node) {
    if (node.comfyClass !== NODE) return;
    const slider = new Slider({
      enlarge: (index) => this.#viewer.open(slider.pairs, index),
      empty: "Run the graph to see both pictures.",
    });
    this.#sliders.set(node, slider);
    addTo(node, this.app, slider.element, WIDGET);
    afterRuns(node, (output) => {
      this.#remembered.set(keyOf(node), output);
      this.#show(node, output);
    });
  }

  /** The pictures of a node that was there before: of another workflow's tab, or undone. */
  loaded(node) {
    const output = this.#remembered.get(keyOf(node));
    if (this.#sliders.has(node) && output) this.#show(node, output);
  }

  #show(node, { before_images: before = [], after_images: after = [] }) {
    const count = before.length && after.length && Math.max(before.length, after.length);
    const pairs = Array.from({ length: count }, (_, index) => ({
      id: index,
      name: "",
      before: this.#url(before[Math.min(index, before.length - 1)]),
      after: this.#url(after[Math.min(index, after.length - 1)]),
    }));
    this.#sliders.get(node).show(pairs, { keep: true });
  }

  #url(file) {
    return this.api.apiURL(`/view?${new URLSearchParams(file)}`);
  }
}
