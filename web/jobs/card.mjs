/** One job: how far it is, what can be done with it, and, opened, its photos. */

import { h, say, show } from "../dom.mjs";
import { Actions } from "./actions.mjs";
import { Bar } from "./bar.mjs";
import { Failures } from "./failures.mjs";
import { Latest } from "./latest.mjs";
import { Notes } from "./notes.mjs";
import { Notice } from "./notice.mjs";
import { Path } from "./path.mjs";
import { date, duration, number, pace, photos } from "./words.mjs";

const WORDS = {
  running: "Running",
  paused: "Paused",
  interrupted: "Interrupted",
  cancelled: "Cancelled",
  finished: "Finished",
  stopped: "Stopped",
};

export class Card {
  #seen = null;

  constructor(job, server, viewer, changed) {
    Object.assign(this, { job, server, changed });
    this.notice = new Notice();
    this.bar = new Bar("Photos done");
    this.latest = new Latest(server, viewer);
    this.notes = new Notes();
    this.failures = new Failures(server, job.id, () => this.#lookAnew());
    this.actions = new Actions(server, {
      told: (next) => {
        this.notice.clear();
        if (next) this.update(next);
        changed();
      },
      failed: (error) => this.notice.tell(error),
    });
    this.title = h("span", { class: "rf-name" });
    this.state = h("span", { class: "rf-state" });
    this.head = h(
      "button",
      { type: "button", class: "rf-head", onclick: () => this.open(this.body.hidden) },
      h("i", { class: "pi pi-chevron-right rf-chevron", "aria-hidden": "true" }),
      this.title,
      this.state,
    );
    this.facts = h("p", { class: "rf-facts" });
    this.reason = h("p", { class: "rf-sentence" });
    this.source = new Path("from");
    this.target = new Path("to");
    this.leftOut = h("p", { class: "rf-quiet" });
    this.results = this.#results();
    this.body = h(
      "div",
      { class: "rf-body", hidden: true },
      this.latest.element,
      this.notes.element,
      this.failures.element,
      this.leftOut,
      h("div", { class: "rf-places" }, this.source.element, this.target.element),
      this.results,
    );
    this.element = h("article", { class: "rf-job" });
    this.element.append(
      this.head,
      this.bar.element,
      this.facts,
      this.reason,
      this.notice.element,
      this.actions.element,
      this.body,
    );
    this.head.setAttribute("aria-expanded", "false");
  }

  open(opened) {
    show(this.body, opened);
    this.head.setAttribute("aria-expanded", String(opened));
    this.latest.tryAgain();
    if (opened) this.#lookAnew();
  }

  update(job) {
    this.job = job;
    const { counts, total } = job;
    const settled = total - job.left;
    const trial = job.limit ? ` (${photos(job.limit)} to try)` : "";
    this.element.dataset.state = job.state;
    this.element.setAttribute("aria-label", job.name);
    say(this.title, `${job.name}${trial}`);
    this.title.title = `${job.name}, ${date(job.created)}`;
    say(this.state, WORDS[job.state] ?? job.state);
    const facts = this.#facts(job, settled);
    const told = facts.join(" · ");
    if (this.facts.textContent !== told) this.facts.replaceChildren(...wholes(facts));
    const parts = ["done", "skipped", "failed"].map((state) => [state, counts[state] ?? 0]);
    this.bar.show(parts, total, told);
    say(this.reason, job.reason ?? "");
    show(this.reason, Boolean(job.reason));
    say(this.leftOut, job.left_out ?? "");
    show(this.leftOut, Boolean(job.left_out));
    this.source.show(job.source);
    this.target.show(job.target);
    show(this.results, (counts.done ?? 0) + (counts.skipped ?? 0) > 0);
    this.failures.count(counts.failed ?? 0, counts.gone ?? 0);
    this.actions.update(job);
  }

  /** Ask for the last photos and the failures, if they are shown and something has changed. */
  async look() {
    const now = JSON.stringify([this.job.state, this.job.counts]);
    if (this.body.hidden || this.#seen === now) return;
    this.#seen = now;
    try {
      const { latest } = await this.server.get(`/jobs/${this.job.id}`);
      this.latest.update(latest);
      this.notes.update(latest);
      await this.failures.look();
    } catch (error) {
      this.#seen = null;
      throw error;
    }
  }

  #lookAnew() {
    this.#seen = null;
    this.changed();
  }

  #facts({ state, total, counts, per_minute: perMinute, seconds_left: secondsLeft }, settled) {
    if (state === "running" && !total) return ["Looking for photos…"];
    const facts = [`${number(settled)} of ${photos(total)}`];
    if (state === "running" && perMinute !== null) {
      facts.push(pace(perMinute), `${duration(secondsLeft)} left`);
    }
    if (counts.skipped) facts.push(`${number(counts.skipped)} were done before`);
    if (counts.failed) facts.push(`${number(counts.failed)} failed`);
    if (counts.gone) facts.push(`${number(counts.gone)} gone`);
    return facts;
  }

  #results() {
    const link = (label, name, options) => {
      const href = this.server.url(`/jobs/${this.job.id}/${name}`);
      return h("a", { class: "rf-link", href, ...options }, label);
    };
    return h(
      "p",
      { class: "rf-line rf-links" },
      link("Report", "report.html", { target: "_blank", rel: "noopener" }),
      link("Results as ZIP", "result.zip", { download: "" }),
      link("Table as CSV", "report.csv", { download: "" }),
    );
  }
}

/** Facts that break between one another rather than within, where there is room. */
const wholes = (facts) =>
  facts.flatMap((fact, index) => {
    const isLast = index === facts.length - 1;
    const whole = h("span", { class: "rf-fact" }, isLast ? fact : `${fact} ·`);
    return isLast ? [whole] : [whole, " "];
  });
