/** One sentence of what went wrong, with the command that would mend it, if there is one. */

import { button, h, say, show } from "../dom.mjs";

export class Notice {
  constructor() {
    this.sentence = h("p", { class: "rf-sentence" });
    this.code = h("code", { class: "rf-code", tabIndex: 0 });
    this.copy = button("Copy", () => this.#copy(), { icon: "copy", title: "Copy the command" });
    this.command = h("div", { class: "rf-command" }, this.code, this.copy);
    this.element = h(
      "div",
      { class: "rf-notice", role: "alert" },
      this.sentence,
      this.command,
    );
    this.clear();
  }

  /** Show an error, or nothing for null. */
  tell(error) {
    if (!error) return this.clear();
    const command = error.command ?? null;
    // The server's sentence ends in the command; it is shown once, where it can be copied.
    const text = command ? error.message.replace(command, "").trim() : error.message;
    say(this.sentence, text);
    this.code.textContent = command ?? ""; // to be copied as it is
    say(this.copy.lastElementChild, "Copy");
    show(this.command, command !== null);
    show(this.element, true);
  }

  clear() {
    show(this.element, false);
    say(this.sentence, "");
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      say(this.copy.lastElementChild, "Copied");
    } catch {
      // Without a secure context there is no clipboard: the text is selected for Ctrl+C instead.
      getSelection().selectAllChildren(this.code);
      say(this.copy.lastElementChild, "Press Ctrl+C");
    }
  }
}
