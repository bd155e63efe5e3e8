/** Where photos or folders are dropped, or chosen by keyboard, and the bar of their upload. */

import { button, h, say, show } from "../dom.mjs";
import { Bar } from "./bar.mjs";
import { batch, chosen, dropped, upload } from "./upload.mjs";
import { bytes, number, photos } from "./words.mjs";

export class DropZone {
  #stop = null;

  /** `arrived(folder, name)` is called with the server's folder; `failed(error)` otherwise. */
  constructor(server, { arrived, failed }) {
    this.server = server;
    this.arrived = arrived;
    this.failed = failed;
    this.bar = new Bar("Upload");
    this.facts = h("span", { class: "rf-facts" });
    this.refused = h("p", { class: "rf-quiet", hidden: true });
    this.progress = h(
      "div",
      { class: "rf-upload", hidden: true },
      this.bar.element,
      h("div", { class: "rf-line" }, this.facts, button("Stop", () => this.#stop.abort())),
    );
    this.choice = h(
      "div",
      { class: "rf-drop" },
      h("span", {}, "Drop photos or a folder here"),
      h(
        "span",
        { class: "rf-line" },
        this.#dialog("Photos…", { multiple: true, accept: "image/*,.heic,.heif,.avif,.tif,.tiff" }),
        this.#dialog("Folder…", { webkitdirectory: true }),
      ),
    );
    this.element = h("div", { class: "rf-upload" }, this.choice, this.progress, this.refused);
  }

  /** Let files be dropped anywhere on `surface`. */
  listen(surface) {
    let depth = 0; // entering a child comes before leaving its parent
    const mark = () => surface.classList.toggle("rf-over", depth > 0);
    const mine = (event) => event.dataTransfer?.types.includes("Files");
    const on = (type, handle) =>
      surface.addEventListener(type, (event) => {
        if (!mine(event)) return;
        event.preventDefault();
        event.stopPropagation(); // the front end would open them as workflows
        handle(event);
        mark();
      });
    on("dragenter", () => depth++);
    on("dragleave", () => depth--);
    on("dragover", (event) => (event.dataTransfer.dropEffect = "copy"));
    on("drop", (event) => {
      depth = 0;
      this.#send(dropped(event.dataTransfer));
    });
  }

  #dialog(label, options) {
    const input = h("input", { type: "file", hidden: true, ...options });
    input.onchange = () => {
      this.#send(chosen(input));
      input.value = ""; // the same choice counts once more
    };
    return h("span", {}, input, button(label, () => input.click()));
  }

  async #send(found) {
    if (this.#stop) return this.failed(new Error("Wait for the upload that is under way."));
    this.#stop = new AbortController();
    show(this.refused, false);
    this.failed(null);
    try {
      const all = await found;
      if (!all.length) throw new Error("There is no photo in what was dropped.");
      const { name, files } = batch(all);
      this.#showUpload(true);
      const tell = (told) => this.#tell(told);
      const { folder, refused } = await upload(this.server, name, files, tell, this.#stop);
      this.#tellRefused(refused);
      if (!folder) throw new Error("The server took none of these files.");
      this.arrived(folder);
    } catch (error) {
      this.failed(error.name === "AbortError" ? new Error("The upload was stopped.") : error);
    } finally {
      this.#stop = null;
      this.#showUpload(false);
    }
  }

  #showUpload(busy) {
    show(this.choice, !busy);
    show(this.progress, busy);
  }

  #tell({ done, count, bytes: sent, total }) {
    const text = `${number(done)} of ${photos(count)}, ${bytes(sent)} of ${bytes(total)}`;
    say(this.facts, text);
    this.bar.show([["done", sent]], total, text);
  }

  #tellRefused(refused) {
    if (!refused.length) return;
    const [[path, reason]] = refused;
    const others = refused.length > 1 ? ` (and ${number(refused.length - 1)} others)` : "";
    say(this.refused, `Left out: ${path}${others}. ${reason}`);
    show(this.refused, true);
  }
}
