const LONG = 5000; // ms, after a look that failed

/** Looks again and again, never twice at once. */
export class Poll {
  #timer = null;
  #looking = false;
  #again = false;
  #running = false;

  /** `look()` returns after how many milliseconds to look again. */
  constructor(look) {
    this.look = look;
  }

  start() {
    this.#running = true;
    this.now();
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
  }

  /** Look at once, or once more after the look that is under way. */
  async now() {
    clearTimeout(this.#timer);
    if (this.#looking) this.#again = true;
    if (!this.#running || this.#looking) return;
    this.#looking = true;
    let pause = LONG;
    try {
      do {
        this.#again = false;
        pause = await this.look();
      } while (this.#again && this.#running);
    } finally {
      this.#looking = false;
      if (this.#running) this.#timer = setTimeout(() => this.now(), pause);
    }
  }
}
