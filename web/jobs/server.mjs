/** The pack's routes, through the front end's own client. */

/** What the server refused, in its own sentence; `command` would allow it, if there is one. */
export class ServerError extends Error {
  constructor(message, { command = null, status = 0 } = {}) {
    super(message);
    this.command = command;
    this.status = status;
  }
}

export class Server {
  constructor(api) {
    this.api = api;
  }

  /** The address of a route, for pictures and links. */
  url(route, query = {}) {
    return this.api.apiURL(withQuery(route, query));
  }

  get(route, query = {}, signal = undefined) {
    return this.#ask(withQuery(route, query), { signal });
  }

  post(route, body = {}) {
    const headers = { "Content-Type": "application/json" };
    return this.#ask(withQuery(route), { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** A file as it is, which the server streams to its disk. */
  send(route, query, file, signal) {
    const headers = { "Content-Type": "application/octet-stream" };
    return this.#ask(withQuery(route, query), { method: "POST", headers, body: file, signal });
  }

  async #ask(route, options) {
    const response = await this.api.fetchApi(route, options).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new ServerError("ComfyUI does not answer. It may be starting again.");
    });
    const answer = await response.json().catch(() => null);
    if (response.ok && answer) return answer;
    const told = answer?.error ?? `ComfyUI answered ${response.status} and did not say why.`;
    throw new ServerError(told, { command: answer?.command, status: response.status });
  }
}

function withQuery(route, query = {}) {
  const text = new URLSearchParams(query).toString();
  return `/restoreflow${route}${text && `?${text}`}`;
}
