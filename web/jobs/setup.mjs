/** A new job: which photos, where their results go, and how. */

import { button, h, say, show } from "../dom.mjs";
import { titles } from "./canvas.mjs";
import { DropZone } from "./drop_zone.mjs";
import { FolderField } from "./folder_field.mjs";
import { Notice } from "./notice.mjs";
import { below, bytes, lastPart, photos } from "./words.mjs";

const TRIAL = 3;
const UNWIRED = "Wire Job Photo into your graph, and the restored picture into Save Restored Photo.";

export class Setup {
  #targetChosen = false;
  #nameChosen = false;
  #counting = null;
  #count = 0;
  #starting = false;
  #jobs = [];

  /** `started(job)` is called with every job made here. */
  constructor(server, canvas, started) {
    Object.assign(this, { server, canvas, started });
    this.notice = new Notice();
    const failed = (error) => this.notice.tell(error);
    this.source = new FolderField(server, "Photos", {
      changed: () => this.#sourceChanged(),
      failed,
    });
    this.target = new FolderField(server, "Results", {
      write: true,
      suggest: (path) => this.#freePlace(path),
      changed: () => this.#targetEntered(),
      failed,
    });
    this.drop = new DropZone(server, { arrived: (folder) => this.#arrived(folder), failed });
    this.facts = h("p", { class: "rf-facts", role: "status" });
    this.name = h("input", { id: "rf-name", class: "rf-input", type: "text", maxLength: 120 });
    this.name.oninput = () => (this.#nameChosen = this.name.value !== "");
    this.retries = h("input", { id: "rf-retries", class: "rf-input rf-short", type: "number" });
    Object.assign(this.retries, { min: 0, max: 10, value: 2 });
    this.autoResume = h("input", { id: "rf-auto", type: "checkbox" });
    this.trial = button("Try three photos", () => this.#start(TRIAL), { icon: "eye" });
    this.start = button("Start", () => this.#start(null), { icon: "play", kind: "rf-primary" });
    this.graphFacts = h("p", { class: "rf-sentence" });
    this.addNodes = button("", () => this.#addNodes(), { icon: "plus" });
    this.graphNeeds = h("div", { class: "rf-notice rf-mild" }, this.graphFacts, this.addNodes);
    this.element = h("section", { class: "rf-setup", "aria-label": "New job" }, ...this.#parts());
    this.look();
  }

  #parts() {
    const more = h(
      "details",
      { class: "rf-more" },
      h("summary", {}, "More"),
      field("Attempts after a photo's first", this.retries),
      h("label", { class: "rf-line" }, this.autoResume, "Go on when ComfyUI starts again"),
    );
    return [
      this.drop.element,
      this.source.element,
      this.facts,
      this.target.element,
      field("Name", this.name),
      more,
      this.graphNeeds,
      this.notice.element,
      h("div", { class: "rf-line rf-ends" }, this.trial, this.start),
    ];
  }

  /** See what the canvas holds now. */
  look() {
    const missing = titles(this.canvas.missing());
    const { isUnwired } = this.canvas;
    const needs = `A job runs the graph on the canvas, which needs ${listed(missing)}.`;
    say(this.graphFacts, missing.length ? needs : UNWIRED);
    const offer = missing.length > 1 ? "Add both nodes" : `Add ${missing[0]}`;
    say(this.addNodes.lastElementChild, offer);
    show(this.addNodes, missing.length > 0);
    show(this.graphNeeds, missing.length > 0 || isUnwired);
    const isReady = !missing.length && !isUnwired && this.#count > 0;
    this.start.disabled = this.trial.disabled = !isReady;
  }

  #addNodes() {
    this.canvas.add(this.source.value, this.element.getBoundingClientRect());
    this.look();
    this.start.focus();
  }

  #arrived(folder) {
    this.source.value = folder;
    this.#sourceChanged();
  }

  async #sourceChanged() {
    const path = this.source.value;
    this.#count = 0;
    this.#counting?.abort();
    this.#counting = new AbortController();
    this.notice.clear();
    say(this.facts, path && "Counting…");
    this.look();
    if (!path) return;
    if (!this.#nameChosen) this.name.value = lastPart(path);
    try {
      await this.#suggestTarget();
      const asked = { path, without: this.target.value };
      const found = await this.server.get("/folders/count", asked, this.#counting.signal);
      this.#count = found.count;
      this.#tellCount(found);
    } catch (error) {
      if (error.name === "AbortError") return;
      say(this.facts, "");
      this.notice.tell(error);
    }
    this.look();
  }

  #tellCount({ count, bytes: size, complete, left_out: leftOut }) {
    const more = complete ? "" : "more than ";
    const [first] = leftOut ?? [];
    const unread = first ? ` Left out: ${first.join(": ")}` : "";
    const told = count ? `${more}${photos(count)}, ${bytes(size)}.` : "No photos in there.";
    say(this.facts, told + unread);
  }

  /** A place for the results in a folder, in which those of no other photos lie. */
  #freePlace(folder) {
    const source = this.source.value.replace(/[\\/]+$/, "");
    const place = below(folder, `${lastPart(source || "photos")}_restored`);
    const others = this.#jobs.filter((job) => job.source !== source).map((job) => job.target);
    let [free, number] = [place, 1];
    while (others.includes(free)) free = `${place}_${++number}`;
    return free;
  }

  async #suggestTarget() {
    this.#jobs = (await this.server.get("/jobs")).jobs;
    if (this.#targetChosen) return;
    const { roots } = await this.server.get("/folders");
    const output = roots.find((root) => root.name === "output");
    if (output) this.target.value = this.#freePlace(output.path);
  }

  #targetEntered() {
    this.#targetChosen = this.target.value !== "";
    this.notice.clear();
    if (!this.#targetChosen) this.#sourceChanged();
  }

  async #start(limit) {
    if (this.#starting) return; // the buttons stay enabled, so that they keep the focus
    this.#starting = true;
    this.notice.clear();
    try {
      const { job } = await this.server.post("/jobs", {
        ...(await this.canvas.snapshot()),
        source: this.source.value,
        target: this.target.value,
        name: this.name.value.trim() || lastPart(this.source.value),
        retries: this.retries.valueAsNumber || 0,
        auto_resume: this.autoResume.checked,
        ...(limit && { limit }),
      });
      this.started(job);
      this.#nameChosen = this.#targetChosen = false; // another folder gets others
    } catch (error) {
      this.notice.tell(error);
    }
    this.#starting = false;
  }
}

const field = (label, input) =>
  h("div", { class: "rf-field" }, h("label", { htmlFor: input.id }, label), input);

const listed = (names) => `a ${names.join(" and a ")} node`;
