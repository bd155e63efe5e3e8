/** The slider over the whole window. */

import { button, h } from "../dom.mjs";
import { Slider } from "./slider.mjs";

export class Viewer {
  constructor() {
    this.slider = new Slider();
    const close = button(null, () => this.dialog.close(), { icon: "times", title: "Close" });
    this.slider.tools.append(close);
    this.dialog = h(
      "dialog",
      { class: "rf rf-viewer", "aria-label": "Before and after" },
      this.slider.element,
    );
    // The front end's own keys stay silent behind the pictures.
    this.dialog.addEventListener("keydown", (event) => event.stopPropagation());
    this.dialog.onclose = () => this.dialog.remove();
  }

  /** Show pairs, one of them first; Escape closes, and the focus goes back to where it was. */
  open(pairs, index) {
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.slider.show(pairs, { index });
    this.slider.reset();
    this.slider.stage.focus();
  }
}
