// GET over HTTP as the Hub needs it and a stranger's server is owed it. In: a URL below the endpoint, headers. Out: status, headers and raw bytes, or
// an error. Redirects are followed by hand: at most 10, never from https to http, never into a private network unless the endpoint is in
// one, and the token goes to the endpoint alone. A connection that stalls is cut. Hazards H16 to H20, H22 to H24.
// Unusual: node:http instead of fetch, because fetch unpacks gzip unasked, hides which address it connects to, and has no time-out for a
// drip of bytes.

import * as http from "node:http";
import * as https from "node:https";
import { FormatError, GraduallyError, quote, RequestError } from "../../core/errors.ts";
import { guardedLookup, isInnerAddress, isInnerHost, literalAddress } from "./addresses.ts";
import type { HubSettings, Patience } from "./settings.ts";

const redirectLimit = 10;

export type Answer = {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Of the endpoint's own last answer: the redirect to a store of files carries what the Hub says about the file. */
  readonly hubHeaders: http.IncomingHttpHeaders;
  /** Raw bytes, watched for stalls. Leaving the loop early closes the connection. */
  readonly body: AsyncIterable<Uint8Array>;
  close(): void;
};

/** What may go away when tried again: a broken connection, a busy server. Never leaves this folder. */
export class PassingTrouble extends Error {
  /** What the server asked us to wait. */
  readonly waitMs: number | undefined;

  constructor(message: string, waitMs?: number) {
    super(message);
    this.waitMs = waitMs;
  }
}

/** Throws PassingTrouble, RequestError or FormatError. Any status is an answer. */
export async function get(settings: HubSettings, operation: string, address: string, headers: Record<string, string>): Promise<Answer> {
  const base = new URL(settings.endpoint);
  let url = new URL(address);
  let isHome = url.origin === base.origin;
  let hubHeaders: http.IncomingHttpHeaders = {};
  for (let hops = 0; ; hops++) {
    const sent = isHome && settings.token !== undefined ? { ...headers, authorization: `Bearer ${settings.token}` } : headers;
    const answer = await hop(settings, operation, url, sent);
    if (isHome) hubHeaders = answer.headers;
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return { ...answer, hubHeaders };
    answer.close();
    if (hops === redirectLimit) refuse(operation, `more than ${redirectLimit} redirects`, "a file at the end of them");
    const next = followed(operation, url, location);
    // Once away from the endpoint nothing brings the token back, not even a redirect home.
    isHome &&= next.origin === base.origin;
    url = next;
  }
}

/** Where a redirect leads. Throws RequestError for what is no http or https address, and for one that gives up encryption. */
export function followed(operation: string, from: URL, location: string): URL {
  const next = URL.canParse(location, from) ? new URL(location, from) : undefined;
  if (!next || !/^https?:$/.test(next.protocol) || next.username !== "" || next.password !== "")
    refuse(operation, `a redirect to ${quote(location, 200)}`, "an http or https address");
  if (from.protocol === "https:" && next.protocol === "http:")
    refuse(operation, `a redirect from https to ${quote(next.origin)}`, "an encrypted connection to stay one");
  return next;
}

function refuse(operation: string, got: string, expected: string): never {
  throw new RequestError({ operation, got, expected, cure: "check HF_ENDPOINT; do not trust this server" });
}

/** One request, one answer. */
async function hop(
  settings: HubSettings,
  operation: string,
  url: URL,
  headers: Record<string, string>,
): Promise<Omit<Answer, "hubHeaders">> {
  const base = new URL(settings.endpoint);
  const refusal = (found: string) =>
    new RequestError({
      operation,
      got: `a redirect to ${quote(url.hostname)}${found === url.hostname ? "" : ` (${found})`}, inside this network`,
      expected: "an address on the internet",
      cure: "do not trust this server",
    });
  const literal = literalAddress(url.hostname);
  const guarded = url.hostname !== base.hostname && !(settings.isLocal ?? (await isInnerHost(base.hostname)));
  if (guarded && literal !== undefined && isInnerAddress(literal)) throw refusal(literal);
  const { request } = url.protocol === "https:" ? https : http;
  return await new Promise((resolve, reject) => {
    const sent = request(url, {
      agent: agentFor(url),
      headers: { "user-agent": "gradually", "accept-encoding": "identity", ...headers },
      ...(guarded && { lookup: guardedLookup(refusal) }),
    });
    let stream: { destroy(error: Error): unknown } = sent;
    const watch = watchdog(settings.patience, (trouble) => stream.destroy(trouble));
    sent.on("error", (thrown) => {
      watch.stop();
      reject(asTrouble(thrown, operation));
    });
    sent.on("response", (response) => {
      stream = response;
      // Until somebody reads, a broken connection is nobody's error.
      response.on("error", () => {});
      const close = () => {
        watch.stop();
        response.destroy();
      };
      const encoding = response.headers["content-encoding"] ?? "identity";
      if (encoding !== "identity") {
        close();
        const got = `content packed as ${quote(encoding)}`;
        reject(new FormatError({ operation, got, expected: "plain bytes, as asked for", cure: "check HF_ENDPOINT" }));
        return;
      }
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: watched(response, watch, operation), close });
    });
    sent.end();
  });
}

async function* watched(response: http.IncomingMessage, watch: Watchdog, operation: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response) {
      const bytes = chunk as Uint8Array;
      watch.count(bytes.length);
      yield bytes;
    }
  } catch (thrown) {
    throw asTrouble(thrown, operation);
  } finally {
    watch.stop();
    response.destroy();
  }
}

type Watchdog = { count(bytes: number): void; stop(): void };

function watchdog({ stallMs, stallBytes }: Patience, cut: (trouble: PassingTrouble) => void): Watchdog {
  let bytes = 0;
  const timer = setInterval(() => {
    if (bytes < stallBytes) cut(new PassingTrouble(`${bytes} bytes in ${stallMs / 1000} seconds`));
    bytes = 0;
  }, stallMs);
  return {
    count: (more) => {
      bytes += more;
    },
    stop: () => clearInterval(timer),
  };
}

function asTrouble(thrown: unknown, operation: string): Error {
  if (thrown instanceof GraduallyError || thrown instanceof PassingTrouble) return thrown;
  // Both addresses of a host may have failed: Node then gives an error without a message.
  const { code = "", message = String(thrown) } = thrown instanceof Error ? (thrown as NodeJS.ErrnoException) : {};
  if (/CERT|LEAF_SIGNATURE/.test(code)) {
    const cure = "check HF_ENDPOINT and the clock; name the certificate of your own authority in NODE_EXTRA_CA_CERTS";
    return new RequestError(
      { operation, got: `a certificate that is not trusted (${code})`, expected: "one that is", cure },
      { cause: thrown },
    );
  }
  return new PassingTrouble(message.includes(code) ? message : `${message} ${code}`.trim());
}

const agents = new Map<string, http.Agent>();

/** Connections are kept for the next request. HTTPS_PROXY and NO_PROXY are honoured (Node 24.5 and newer), except on this machine. */
function agentFor(url: URL): http.Agent {
  const isHere = url.hostname === "localhost" || isInnerAddress(literalAddress(url.hostname) ?? "192.0.2.1");
  const key = `${url.protocol}${isHere}`;
  const { Agent } = url.protocol === "https:" ? https : http;
  const agent = agents.get(key) ?? new Agent({ keepAlive: true, ...(!isHere && { proxyEnv: process.env }) });
  agents.set(key, agent);
  return agent;
}

/** Runs `attempt` until it does not throw PassingTrouble, with growing pauses. Throws RequestError after the last. */
export async function withRetries<T>(patience: Patience, operation: string, attempt: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (thrown) {
      if (!(thrown instanceof PassingTrouble)) throw thrown;
      await pause(patience, operation, failures, thrown);
    }
  }
}

/** Waits before attempt `failures + 1`, or throws RequestError when that was enough. */
export async function pause(patience: Patience, operation: string, failures: number, trouble: PassingTrouble): Promise<void> {
  const wait = trouble.waitMs ?? patience.pauseMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
  if (failures >= patience.tries || wait > patience.longestPauseMs) {
    const got = `${trouble.message}${failures > 1 ? `, after ${failures} attempts` : ""}`;
    const cure =
      trouble.waitMs !== undefined
        ? `try again in ${Math.ceil(wait / 1000)} s`
        : "check the connection and try again; what has come stays and is not fetched twice";
    throw new RequestError({ operation, got, expected: "an answer", cure }, { cause: trouble });
  }
  await new Promise((resolve) => setTimeout(resolve, wait));
}
