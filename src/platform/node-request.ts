// A message of Node as the request that the server reads. In: an incoming message and the answer to it. Out: what src/server/call.ts calls an
// AppRequest: headers are looked up where they lie, the body comes as Node has it. The web's own Request would copy both, and make a stream of streams
// of a body that is one piece of some hundred bytes. Unusual: the body is pulled, so that what a handler does not want is not read, and an expected "100
// Continue" is sent only when the body is asked for.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { AppRequest } from "../server/call.ts";

export class NodeRequest implements AppRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: AppRequest["headers"];
  readonly signal: AbortSignal;
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  #isExpected: boolean;

  /** `path` with its query: the address is only for these; who is asked stands in the Host header, which the server checks. */
  constructor(incoming: IncomingMessage, outgoing: ServerResponse, path: string, signal: AbortSignal) {
    this.method = incoming.method ?? "GET";
    this.url = `http://localhost${path}`;
    this.headers = new RawHeaders(incoming.rawHeaders);
    this.signal = signal;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#isExpected = /^100-continue$/i.test(this.headers.get("expect") ?? "");
  }

  /** The next piece of the body; undefined at its end. Rejects when it breaks off. */
  async read(): Promise<Uint8Array | undefined> {
    const incoming = this.#incoming;
    if (this.#isExpected) this.#outgoing.writeContinue();
    this.#isExpected = false;
    for (;;) {
      if (incoming.readableAborted || incoming.errored) throw new Error("the body broke off");
      const piece: Uint8Array | null = incoming.read();
      if (piece) return piece;
      if (incoming.readableEnded) return undefined;
      await readable(incoming);
    }
  }
}

/** Names and values in turns, as they came; a name that came twice has both values, as in the web's Headers. */
class RawHeaders {
  readonly #raw: readonly string[];

  constructor(raw: readonly string[]) {
    this.#raw = raw;
  }

  /** `name` in lower case. */
  get(name: string): string | null {
    const raw = this.#raw;
    let found: string | null = null;
    for (let i = 0; i < raw.length; i += 2) {
      const given = raw[i] as string;
      if (given.length !== name.length || given.toLowerCase() !== name) continue;
      found = found === null ? (raw[i + 1] as string) : `${found}, ${raw[i + 1]}`;
    }
    return found;
  }

  has(name: string): boolean {
    return this.get(name) !== null;
  }
}

function readable(incoming: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const events = ["readable", "end", "error", "close"];
    const wake = () => {
      for (const name of events) incoming.off(name, wake);
      resolve();
    };
    for (const name of events) incoming.on(name, wake);
  });
}
