/** Requests to one server: with its key, with a time limit, and with errors as messages for the reader. */

const UNTOLD = 60_000; // milliseconds to wait for an answer, until the server has told its own limit

export class Server {
  timeout = UNTOLD;
  #key = null;
  #asking = null;

  /** `askForKey(again)` gives a promise of a key, if the server asks for one. */
  constructor(base, askForKey) {
    [this.base, this.askForKey] = [base, askForKey];
  }

  /** A promise of {headers, bytes: ArrayBuffer}, or an Error whose message is shown; `signal` cancels the request. */
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
        if (signal?.aborted) throw error; // it was cancelled
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

/** Headers hold bytes, which scripts write as characters. */
const inBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** The reason for an error; a proxy in front of the server may answer in HTML. */
function reason({ status, statusText }, bytes) {
  try {
    const { error } = JSON.parse(new TextDecoder().decode(bytes));
    if (error) return `The server says: ${error}`;
  } catch {
    // not JSON
  }
  return `The server answered ${status}${statusText && ` (${statusText})`}.`;
}
