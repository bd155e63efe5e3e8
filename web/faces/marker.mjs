/** A photo on which faces are marked by clicks; what they write is the text on the node. */

import { View } from "../compare/view.mjs";
import { button, h, Rows, say, show } from "../dom.mjs";
import { listen } from "./gestures.mjs";
import { exchanged, faces, NAMES, withFace } from "./text.mjs";

const LARGE = { icon: "window-maximize", title: "Open large" };
const COARSE = 3; // from so many screen points a pixel on, pixels are shown as squares
const OUTLINE = [0, 1, 4, 3]; // of the five points, in the order of a line around the face
const TO_NOSE = [0, 1]; // and from where lines lead to the nose
const EMPTY = "Run the graph once to see the photo here, or wire Load Image straight into image.";
const WIRED = "The points come from another node.";
const STALE = "What leads here has changed: run the graph again to see the photo.";
const HANDLED = 100; // faces with a handle on each point, the last ones; the others are outlines

export class Marker {
  #view = new View();
  #page = 0;
  #cross = null; // in pixels of the photo, while a keyboard leads it
  #last = null; // the line of the face that was touched last
  #dragged = false;
  #drawn = null; // what the last refresh showed

  /** `model` reads and writes the text and knows the photos; `enlarge()`, if given, is a button. */
  constructor(model, enlarge = null) {
    this.model = model;
    this.guide = h("p", { class: "rf-guide", role: "status" });
    this.picture = h("img", { alt: "", draggable: false });
    this.sheet = h("div", { class: "rf-sheet" }, this.picture);
    this.lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.lines.setAttribute("aria-hidden", "true");
    this.dots = h("div", { class: "rf-dots" });
    this.rows = new Rows(this.dots, () => dot());
    this.cross = h("div", { class: "rf-cross", "aria-hidden": "true" });
    this.message = h("p", { class: "rf-message" });
    this.stage = h(
      "div",
      {
        class: "rf-stage rf-photo",
        tabIndex: 0,
        role: "application",
        "aria-label": "Photo to mark faces in",
        "aria-description": "Arrow keys lead a cross, Enter places a point, Tab goes to the points.",
      },
      this.sheet,
      this.lines,
      this.dots,
      this.cross,
      this.message,
    );
    this.undoing = button("Undo", () => this.undo(), { title: "Take the last change back" });
    this.removing = button("Remove face", () => this.removeFace(), {
      title: "Remove the face that was touched last",
    });
    this.clearing = button("Clear", () => this.clear(), { title: "Remove all points" });
    this.previous = button(null, () => this.page(-1), { icon: "chevron-left", title: "Previous" });
    this.next = button(null, () => this.page(1), { icon: "chevron-right", title: "Next" });
    this.place = h("span", { class: "rf-place", role: "status" });
    this.pages = h("span", { class: "rf-line" }, this.previous, this.place, this.next);
    this.tools = h(
      "div",
      { class: "rf-line rf-tools" },
      this.undoing,
      this.removing,
      this.clearing,
      h("span", { class: "rf-name" }),
      this.pages,
      button(null, () => this.zoom(1 / 1.5), { icon: "search-minus", title: "Smaller" }),
      button(null, () => this.zoom(1.5), { icon: "search-plus", title: "Larger" }),
      button("Fit", () => this.fit(), { title: "The whole photo" }),
      enlarge && button(null, enlarge, LARGE),
    );
    this.element = h("div", { class: "rf rf-compare rf-faces" }, this.guide, this.stage, this.tools);
    this.picture.onload = () => this.refresh();
    this.picture.onerror = () => this.model.broken(this.picture.getAttribute("src"));
    new ResizeObserver(() => this.#draw()).observe(this.stage);
    listen(this.stage, this);
    this.refresh();
  }

  // What is shown

  /** Show the text and the photo as they are now. */
  refresh() {
    const { photos, text, wired, changed, found, stale, stranger } = this.model;
    const { naturalWidth } = this.picture;
    const now = JSON.stringify(
      [photos, text, wired, changed, found, stale, stranger, this.#page, naturalWidth],
    );
    if (now === this.#drawn) return; // a timer asks all the time
    this.#drawn = now;
    this.#page = Math.max(0, Math.min(this.#page, photos.length - 1));
    const photo = photos[this.#page];
    show(this.picture, Boolean(photo));
    if (photo && this.picture.getAttribute("src") !== photo.url) this.picture.src = photo.url;
    this.photos = photos;
    this.found = found.filter(([picture]) => picture === this.#page);
    say(this.message, wired ? WIRED : photo ? "" : stale ? STALE : EMPTY);
    show(this.message, this.message.textContent !== "");
    this.element.classList.toggle("rf-without", !photo || wired);
    this.faces = wired ? [] : faces(text);
    this.undoing.disabled = !changed;
    this.removing.disabled = !this.#own.length;
    this.clearing.disabled = !this.faces.length;
    show(this.pages, photos.length > 1);
    say(this.place, `${this.#page + 1} / ${photos.length}`);
    this.previous.disabled = this.#page === 0;
    this.next.disabled = this.#page >= photos.length - 1;
    const other = stranger ? `These points were set on another photo, ${stranger}. ` : "";
    say(this.guide, wired || !photo ? "" : other + this.#guidance());
    this.#draw();
  }

  #guidance() {
    const wrong = this.#own.findIndex(({ points }) => points.length === 5 && exchanged(points));
    if (wrong >= 0) {
      return `Face ${wrong + 1}: left and right look exchanged. Left is left in the picture.`;
    }
    const { begun } = this;
    const count = this.#own.length;
    const next = NAMES[begun?.points.length ?? 0];
    if (begun) return `Face ${count}: click the ${next}, as seen in the picture.`;
    if (!count) return `Click the ${next} of a face, as seen in the picture.`;
    const marked = count === 1 ? "1 face is marked" : `${count} faces are marked`;
    return `${marked}. Drag points to correct them, or click the ${next} of another face.`;
  }

  /** The faces of the photo that is shown. */
  get #own() {
    return this.faces.filter((face) => face.picture === this.#page);
  }

  /** The face that still lacks points, if there is one. */
  get begun() {
    return this.#own.find((face) => face.points.length < NAMES.length);
  }

  get #photo() {
    const photo = this.photos[this.#page];
    if (!photo) return { width: 0, height: 0 };
    const { naturalWidth, naturalHeight } = this.picture;
    return { width: photo.width || naturalWidth, height: photo.height || naturalHeight };
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const photo = this.#photo;
    show(this.dots, photo.width > 0);
    this.lines.style.display = photo.width ? "" : "none"; // an SVG has no `hidden`
    if (!width || !height || !photo.width || !this.faces) return;
    this.#view.resize({ width, height }, photo);
    const { x, y, zoom, box, scale } = this.#view;
    this.sheet.style.width = `${box.width}px`;
    this.sheet.style.height = `${box.height}px`;
    this.sheet.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    this.sheet.classList.toggle("rf-coarse", scale > COARSE);
    const at = ([px, py]) => [x + px * scale, y + py * scale];
    const own = this.#own;
    const outlines = own.length - HANDLED;
    this.rows.show(
      own.flatMap(({ line, points }, number) =>
        (number < outlines ? [] : points).map((point, index) => ({
          ...{ id: `${line}.${index}`, line, index, place: at(point) },
          ...{ name: `Face ${number + 1}, ${NAMES[index]}`, label: index ? "" : number + 1 },
        })),
      ),
    );
    this.lines.innerHTML = [
      ...this.found.map(([, left, top, right, bottom]) => {
        const [[x0, y0], [x1, y1]] = [at([left, top]), at([right, bottom])];
        return `<rect x="${x0}" y="${y0}" width="${x1 - x0}" height="${y1 - y0}"/>`;
      }),
      `<path d="${own.map(({ points }) => outline(points.map(at))).join("")}"/>`,
    ].join("");
    show(this.cross, this.#cross !== null);
    if (this.#cross) put(this.cross, at(this.#cross));
  }

  // What changes the text

  /** The next point, at a place of the stage. */
  pick(x, y) {
    this.#cross = null;
    const point = this.#point(x, y);
    if (point) this.#add(point);
  }

  pickAtCross() {
    if (this.#cross) this.#add(this.#cross);
  }

  #add(point) {
    this.refresh(); // what leads here may have changed since the timer looked
    if (this.model.wired || !this.photos.length) return;
    const face = this.begun ?? { line: null, picture: this.#page, points: [] };
    this.#write({ ...face, points: [...face.points, point] });
  }

  /** Take a point along; the text is another at once, but for Undo the way is one change. */
  drag(element, x, y) {
    const point = this.#point(x, y);
    if (!point) return;
    this.#set(element, point, !this.#dragged);
    this.#dragged = true;
  }

  drop() {
    this.#dragged = false;
  }

  nudge(element, dx, dy) {
    const face = this.#of(element);
    const [x, y] = face.points[element.dataset.index];
    const { scale } = this.#view;
    this.#set(element, this.#inside([x + dx / scale, y + dy / scale]), true);
  }

  #set(element, point, kept) {
    const face = this.#of(element);
    this.#write({ ...face, points: face.points.with(element.dataset.index, point) }, kept);
  }

  #write(face, kept = true) {
    this.#last = face.line;
    this.model.write(withFace(this.model.text, face), kept);
    this.refresh();
  }

  #of(element) {
    return this.faces.find((face) => face.line === Number(element.dataset.line));
  }

  /** The point that was placed last. */
  removePoint() {
    const face = this.#own.at(-1);
    if (face) this.#write({ ...face, points: face.points.slice(0, -1) });
    this.stage.focus({ preventScroll: true });
  }

  /** The face of the point that has the focus, else the one touched last. */
  removeFace() {
    const focused = this.dots.contains(document.activeElement) ? document.activeElement : null;
    const line = focused ? Number(focused.dataset.line) : this.#last;
    const face = this.#own.find((one) => one.line === line) ?? this.#own.at(-1);
    if (face) this.#write({ ...face, points: [] });
    this.#last = null;
    this.stage.focus({ preventScroll: true });
  }

  clear() {
    this.model.write("");
    this.refresh();
  }

  undo() {
    this.model.undo();
    this.refresh();
  }

  // Where one looks

  page(step) {
    if (!this.photos[this.#page + step]) return;
    this.#page += step;
    this.refresh();
  }

  zoomAt(factor, x, y) {
    this.#view.zoomAt(factor, x, y);
    this.#draw();
  }

  /** About the cross, else about the middle. */
  zoom(factor) {
    const { x, y, scale, stage } = this.#view;
    const [px, py] = this.#cross ?? [];
    if (this.#cross) this.zoomAt(factor, x + px * scale, y + py * scale);
    else this.zoomAt(factor, stage.width / 2, stage.height / 2);
  }

  pan(x, y) {
    this.#view.pan(x, y);
    this.#draw();
  }

  fit() {
    this.#view.fit();
    this.#draw();
  }

  showCross(visible) {
    const { width, height } = this.#photo;
    this.#cross = visible && width ? (this.#cross ?? [width / 2, height / 2]) : null;
    this.#draw();
  }

  moveCross(dx, dy) {
    this.showCross(true);
    if (!this.#cross) return;
    const { scale } = this.#view;
    this.#cross = this.#inside([this.#cross[0] + dx / scale, this.#cross[1] + dy / scale]);
    this.#draw();
  }

  /** The photo's pixel at a place of the stage, or null beside the photo. */
  #point(x, y) {
    const point = [(x - this.#view.x) / this.#view.scale, (y - this.#view.y) / this.#view.scale];
    if (this.#dragged) return this.#inside(point);
    const inside = this.#inside(point);
    return inside[0] === point[0] && inside[1] === point[1] ? point : null;
  }

  #inside([x, y]) {
    const { width, height } = this.#photo;
    return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
  }
}

/** A point as a button, so that Tab finds it. */
function dot() {
  const number = h("span");
  const element = h("button", { type: "button", class: "rf-point" }, number);
  const update = ({ line, index, place, name, label }) => {
    Object.assign(element.dataset, { line, index });
    element.title = name;
    element.setAttribute("aria-label", name);
    say(number, String(label));
    put(element, place);
  };
  return { element, update };
}

function put(element, [x, y]) {
  element.style.left = `${x}px`;
  element.style.top = `${y}px`;
}

/** Lines between the points of a whole face. */
function outline(points) {
  if (points.length < NAMES.length) return "";
  const nose = TO_NOSE.map((eye) => `M${points[eye]}L${points[2]}`).join("");
  return `M${OUTLINE.map((index) => points[index]).join("L")}Z${nose}`;
}
