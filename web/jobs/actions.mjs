/** The buttons of a job: one button pauses and resumes, so that it keeps the focus. */

import { button, h, say, show } from "../dom.mjs";
import { photos } from "./words.mjs";

const RESUME = { finished: "Run again" };
const AGAIN = "Restores what was added or changed since; what is done stays.";

export class Actions {
  #busy = false;

  /** `told(job)` is called with the job as the server has it after a command, `failed` else. */
  constructor(server, { told, failed }) {
    Object.assign(this, { server, told, failed });
    this.main = button("Pause", () => this.#command(this.isRunning ? "pause" : "resume"));
    this.cancel = button("Cancel", () => this.#command("cancel"));
    this.retry = button("", () => this.#command("resume", { retry_failed: true }));
    this.forget = button("Forget…", () => this.#ask(true));
    this.keep = button("Keep", () => this.#ask(false));
    this.sure = h(
      "div",
      { class: "rf-line rf-sure", role: "group", "aria-label": "Forget this job?" },
      h("span", {}, "Forget this job? Its results stay."),
      button("Forget", () => this.#command("delete"), { kind: "rf-danger" }),
      this.keep,
    );
    this.row = h("div", { class: "rf-line" }, this.main, this.cancel, this.retry, this.forget);
    this.element = h("div", { class: "rf-actions" }, this.row, this.sure);
    show(this.sure, false);
  }

  get isRunning() {
    return this.job.state === "running";
  }

  update(job) {
    this.job = job;
    const failed = job.counts.failed ?? 0;
    const hasEnded = ["finished", "cancelled"].includes(job.state);
    const hadFocus = this.row.contains(document.activeElement);
    say(this.main.lastElementChild, this.isRunning ? "Pause" : (RESUME[job.state] ?? "Resume"));
    this.main.title = job.state === "finished" ? AGAIN : "";
    say(this.retry.lastElementChild, `Retry ${photos(failed)}`);
    this.retry.title = "Restore once more what has failed";
    show(this.cancel, !hasEnded);
    show(this.retry, failed > 0 && !this.isRunning);
    show(this.forget, !this.isRunning);
    if (hadFocus && document.activeElement?.hidden !== false) this.main.focus();
  }

  #ask(open) {
    show(this.sure, open);
    show(this.row, !open);
    (open ? this.keep : this.forget).focus();
  }

  async #command(name, body = {}) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const { job } = await this.server.post(`/jobs/${this.job.id}/${name}`, body);
      this.told(job);
    } catch (error) {
      this.failed(error);
    }
    this.#busy = false;
  }
}
