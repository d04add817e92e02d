/** Requests to one server: with its key, never without an end, and what goes wrong in words. */

const UNTOLD = 60_000; // ms for an answer, until the server has said how long it takes at most

export class Server {
  timeout = UNTOLD;
  #key = null;
  #asking = null;

  /** `askForKey(again)` gives a promise of a key, where the server wants one. */
  constructor(base, askForKey) {
    [this.base, this.askForKey] = [base, askForKey];
  }

  /** A promise of {headers, bytes: ArrayBuffer}, or an Error to be shown; `signal` gives the request up. */
  async ask(path, { headers = {}, signal, ...options } = {}) {
    for (;;) {
      const key = this.#key;
      const authorization = key === null ? {} : { Authorization: `Bearer ${inBytes(key)}` };
      const late = AbortSignal.timeout(this.timeout);
      let response, bytes;
      try {
        response = await fetch(new URL(path, this.base), {
          ...options,
          headers: { ...headers, ...authorization },
          signal: signal ? AbortSignal.any([late, signal]) : late,
        });
        bytes = await response.arrayBuffer();
      } catch (error) {
        if (signal?.aborted) throw error; // nobody waits for it
        if (late.aborted) throw new Error(`The server did not answer within ${this.timeout / 1000} s.`);
        throw new Error("The server cannot be reached; it may have been stopped. Try again.");
      }
      if (response.ok) return { headers: response.headers, bytes };
      if (response.status !== 401) throw new Error(reason(response, bytes));
      // Meanwhile another request may have brought a key.
      if (key === this.#key) {
        this.#asking ??= this.#newKey();
        await this.#asking;
      }
    }
  }

  async #newKey() {
    this.#key = await this.askForKey(this.#key !== null);
    this.#asking = null;
  }
}

/** Headers hold bytes, which scripts spell as letters. */
const inBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** What a server says that does not answer; a proxy before it may say it in HTML. */
function reason({ status, statusText }, bytes) {
  try {
    const { error } = JSON.parse(new TextDecoder().decode(bytes));
    if (error) return `The server says: ${error}`;
  } catch {
    // no JSON
  }
  return `The server answered ${status}${statusText && ` (${statusText})`}.`;
}
