/** All jobs, the newest first, kept in line with the server. */

import { h, Rows, show } from "../dom.mjs";
import { Card } from "./card.mjs";
import { Notice } from "./notice.mjs";

const SOON = 1000; // ms, while a job runs
const LATER = 5000;

export class JobList {
  #known = false;

  /** `changed()` asks for a look at once, after a command. */
  constructor(server, viewer, changed) {
    this.server = server;
    this.notice = new Notice();
    this.empty = h("p", { class: "rf-quiet" }, "No jobs yet.");
    const list = h("div", { class: "rf-jobs" });
    this.rows = new Rows(list, (job) => new Card(job, server, viewer, changed));
    this.element = h(
      "section",
      { "aria-label": "Jobs" },
      h("h3", { class: "rf-heading" }, "Jobs"),
      this.notice.element,
      this.empty,
      list,
    );
    show(this.empty, false);
  }

  /** Ask the server once, for all jobs and for what the open ones show; ms until the next time. */
  async look() {
    if (document.hidden) return SOON;
    try {
      const { jobs } = await this.server.get("/jobs");
      this.#show(jobs);
      for (const card of this.rows.all) await card.look();
      this.notice.clear();
      return jobs.some((job) => job.state === "running") ? SOON : LATER;
    } catch (error) {
      this.notice.tell(error);
      return LATER;
    }
  }

  /** Show a job that was just made, opened. */
  add(job) {
    this.#show([job, ...this.rows.all.map((card) => card.job)]);
    for (const card of this.rows.all) card.open(card.job.id === job.id);
    this.rows.container.firstElementChild.scrollIntoView({ block: "nearest" });
  }

  #show(jobs) {
    this.rows.show(jobs);
    show(this.empty, jobs.length === 0);
    if (!this.#known && jobs.length) this.rows.all[0].open(true);
    this.#known = true;
  }
}
