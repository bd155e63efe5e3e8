/** Elements without a framework: texts stay texts, and what is on the page is changed in place. */

/** An element; `on…` and known names are properties, names with a dash and `role` attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A button that submits nothing; `icon` names a PrimeIcon, alone where the label is null. */
export function button(label, onclick, { icon = null, kind = "", title = "" } = {}) {
  const sign = icon && h("i", { class: `pi pi-${icon}`, "aria-hidden": "true" });
  const element = h("button", { type: "button", class: `rf-button ${kind}`, title, onclick }, sign);
  if (label === null) element.setAttribute("aria-label", title);
  else element.append(h("span", {}, label));
  return element;
}

/** What steers a terminal or turns the direction of writing; a file's name may hold it. */
const STEERING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;
const written = (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Change a text only if it is another: selections stay, and screen readers keep silent. */
export function say(element, text) {
  const plain = text.replace(STEERING, written);
  if (element.textContent !== plain) element.textContent = plain;
}

/** Show or hide, by an attribute that style sheets and screen readers know. */
export function show(element, visible) {
  element.hidden = !visible;
}

/** The rows of a list, kept in line with items by their `id`: what stays keeps focus and state. */
export class Rows {
  #rows = new Map();

  /** `make(item)` returns `{element, update(item)}`. */
  constructor(container, make) {
    this.container = container;
    this.make = make;
  }

  get all() {
    return [...this.#rows.values()];
  }

  show(items) {
    const wanted = new Set(items.map((item) => item.id));
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    let place = this.container.firstElementChild;
    for (const item of items) {
      let row = this.#rows.get(item.id);
      if (!row) this.#rows.set(item.id, (row = this.make(item)));
      row.update(item);
      if (row.element === place) place = place.nextElementSibling;
      else this.container.insertBefore(row.element, place);
    }
  }
}
