/** The slider on the node Before / After, in the classic canvas and in Nodes 2.0. */

import { Slider } from "./slider.mjs";
import { Viewer } from "./viewer.mjs";

const NODE = "RestoreFlowBeforeAfter";
const LEAST = 260; // points of height
const SIZE = [360, 380];

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
    slider.element.classList.add("widget-expands"); // how Nodes 2.0 of ComfyUI 0.3.75 grow
    slider.element.addEventListener("wheel", (event) => this.#passOn(event), { passive: false });
    this.#sliders.set(node, slider);
    const widget = node.addDOMWidget("compare", "RESTOREFLOW_COMPARE", slider.element, {
      getMinHeight: () => LEAST,
      hideOnZoom: false,
      serialize: false, // nothing in the prompt
    });
    widget.serialize = false; // nothing in the workflow's file
    node.setSize(SIZE.map((side, axis) => Math.max(side, node.size[axis])));
    const before = node.onExecuted;
    node.onExecuted = (output) => {
      before?.call(node, output);
      this.#remembered.set(this.#key(node), output);
      this.#show(node, output);
    };
  }

  /** The pictures of a node that was there before: of another workflow's tab, or undone. */
  loaded(node) {
    const output = this.#remembered.get(this.#key(node));
    if (this.#sliders.has(node) && output) this.#show(node, output);
  }

  /** A wheel that the pictures left alone zooms the canvas; Nodes 2.0 see to that by themselves. */
  #passOn(event) {
    if (window.LiteGraph.vueNodesMode) return;
    event.preventDefault();
    this.app.canvas.processMouseWheel(event);
  }

  #key(node) {
    return `${node.graph?.id} ${node.id}`;
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
