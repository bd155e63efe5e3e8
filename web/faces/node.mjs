/** Marking on the node Faces From Points, in the classic canvas and in Nodes 2.0. */

import { button, h } from "../dom.mjs";
import { addTo, afterRuns, keyOf } from "../node_widget.mjs";
import { Marker } from "./marker.mjs";
import { digest, origin } from "./upstream.mjs";

const NODE = "RestoreFlowFacesFromPoints";
const WIDGET = { name: "photo", type: "RESTOREFLOW_FACE_POINTS", least: 300, size: [420, 540] };
const TEXT = 70; // points of height beyond which the text leaves the room to the photo
const REFRESH = 250; // ms
const NOTHING = { photos: [], size: [], found: [] };
const PHOTO = "restoreflow_photo"; // the node's property that names the photo of the points
const SEE_THROUGH = /\.(png|webp)$/i; // files that may have an alpha

export class FacePoints {
  #markers = new WeakMap();
  #models = new Set();
  #remembered = new Map();

  constructor(app, api) {
    this.app = app;
    this.api = api;
    // Whatever changes while the graph runs is not in what the run shows.
    api.addEventListener("execution_start", () => {
      for (const model of this.#models) model.started();
    });
    api.addEventListener("execution_cached", ({ detail }) => {
      const ids = new Set(detail.nodes.map((id) => String(id).split(":").pop()));
      for (const model of this.#models) if (ids.has(String(model.node.id))) model.kept();
    });
  }

  created(node) {
    if (node.comfyClass !== NODE) return;
    const text = node.widgets.find((widget) => widget.name === "points");
    const model = new Model(this.api, node, text);
    const marker = new Marker(model, () => enlarge(model));
    this.#markers.set(node, { model, marker });
    this.#models.add(model);
    text.options.getMaxHeight = () => TEXT;
    const changed = text.callback;
    text.callback = (...values) => {
      model.noted();
      return changed?.apply(text, values);
    };
    addTo(node, this.app, marker.element, WIDGET);
    afterRuns(node, (output) => this.#remembered.set(keyOf(node), model.ran(output)));
    // Typing, Undo, another file in Load Image, a wire: neither front end tells of all of them.
    const timer = setInterval(() => marker.element.isConnected && marker.refresh(), REFRESH);
    const removed = node.onRemoved;
    node.onRemoved = () => {
      clearInterval(timer);
      model.gone = true;
      this.#models.delete(model);
      removed?.call(node);
    };
  }

  /** The photo of a node that was there before: of another workflow's tab, or undone. */
  loaded(node) {
    const run = this.#remembered.get(keyOf(node));
    if (run) this.#markers.get(node)?.model.remember(run);
  }
}

/** The text and the photos of one node. */
class Model {
  gone = false;
  #before = [];
  #run = { upstream: null, output: NOTHING };
  #begun = null; // the digest at the beginning of the run
  #broken = new Set();

  constructor(api, node, widget) {
    this.api = api;
    this.node = node;
    this.widget = widget;
  }

  get text() {
    return this.widget.value;
  }

  /** Whether the points come over a wire. */
  get wired() {
    return this.node.inputs.some((slot) => slot.name === "points" && slot.link != null);
  }

  get changed() {
    return this.#before.length > 0;
  }

  write(text, kept = true) {
    if (kept) this.#before.push(this.text);
    this.widget.value = text;
    this.widget.callback?.(text);
    this.node.graph?.setDirtyCanvas(true, true);
  }

  undo() {
    if (this.changed) this.write(this.#before.pop(), false);
  }

  started() {
    this.#begun = digest(this.node, "image");
  }

  /** The host has nothing to do: what ran last is what flows in. */
  kept() {
    this.#run.upstream = this.#begun;
  }

  /** What a run showed; returns what `remember` takes. */
  ran(output) {
    const upstream = this.#begun ?? digest(this.node, "image");
    this.#run = { upstream, output: { ...NOTHING, ...output } };
    return this.#run;
  }

  /** Write down which photo the points belong to, as far as it is known. */
  noted() {
    const name = this.text.trim() ? this.#name() : null;
    if (name) this.node.properties[PHOTO] = name;
    else delete this.node.properties[PHOTO];
  }

  /** The other photo that the points were set on, or null. */
  get stranger() {
    const [own, name] = [this.node.properties[PHOTO], this.#name()];
    return own && name && own !== name && this.text.trim() ? own : null;
  }

  remember(run) {
    this.#run = run;
  }

  /** A photo that the browser cannot show, such as a TIFF. */
  broken(url) {
    this.#broken.add(url);
  }

  /** `{url, width, height}`: Load Image's own file where it leads straight here, else the run's. */
  get photos() {
    const file = this.#file();
    const { output } = this.#run;
    const current = this.#current;
    if (file && !this.#broken.has(file) && !(current && output.photos.length > 1)) {
      return [{ url: file }];
    }
    const [width, height] = output.size;
    return current ? output.photos.map((one) => ({ url: this.#url(one), width, height })) : [];
  }

  /** Boxes of the faces that came in: `[picture, x0, y0, x1, y1]`. */
  get found() {
    return this.#current ? this.#run.output.found : [];
  }

  /** Whether the run's photo is no longer what flows in. */
  get stale() {
    return this.#run.output.photos.length > 0 && !this.#current;
  }

  /** Whether what ran last is what flows in now, as far as the nodes before tell. */
  get #current() {
    return this.#run.upstream === digest(this.node, "image");
  }

  /** What the Load Image that leads straight here has chosen, or null. */
  #name() {
    let node = origin(this.node, "image");
    for (let steps = 0; node?.type === "Reroute" && steps < 32; steps++) node = origin(node);
    if (node?.type !== "LoadImage" || node.mode === 2 || node.mode === 4) return null;
    const value = node.widgets?.find((widget) => widget.name === "image")?.value;
    return typeof value === "string" && value ? value : null;
  }

  /** The address of that file. */
  #file() {
    const name = this.#name();
    if (!name) return null;
    const [, path, type = "input"] = name.match(/^(.*?)(?: \[(\w+)\])?$/);
    const parts = path.split("/");
    return this.#url({ filename: parts.pop(), subfolder: parts.join("/"), type });
  }

  /** Without alpha, in which a painted mask would hide the faces it covers. */
  #url({ filename, subfolder, type }) {
    const query = new URLSearchParams({ filename, subfolder, type });
    // Other files stay as they are: the host would lose a JPEG's orientation.
    if (SEE_THROUGH.test(filename)) query.set("channel", "rgb");
    return this.api.apiURL(`/view?${query}`);
  }
}

/** The same photo over the whole window; Escape closes. */
function enlarge(model) {
  const marker = new Marker(model);
  const timer = setInterval(() => (model.gone ? dialog.close() : marker.refresh()), REFRESH);
  const close = button(null, () => dialog.close(), { icon: "times", title: "Close" });
  marker.tools.append(close);
  const dialog = h(
    "dialog",
    { class: "rf rf-viewer", "aria-label": "Mark faces" },
    marker.element,
  );
  // The front end's own keys stay silent behind the photo.
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  dialog.onclose = () => {
    clearInterval(timer);
    dialog.remove();
  };
  document.body.append(dialog);
  dialog.showModal();
  marker.stage.focus();
}
