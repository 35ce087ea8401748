// HTTP of a page's worker: one request with Range, told apart by what came back; retries with growing pauses. In: URL, first byte, headers. Out: the
// answer's place in the file, its size and tag, and its bytes as a stream that a stalled connection ends.
// Unusual: a request always has a Range, since only then does the browser ask for bytes that are not packed; Content-Range may be hidden from pages
// of other origins, so the length has to do where it is.

import { ConfigError, quote, RequestError } from "../../core/errors.ts";

/** Worth another attempt. */
export class PassingTrouble extends Error {}

export type Answer = {
  readonly status: number;
  /** First byte of the body within the file. */
  readonly from: number;
  /** Of the whole file, where anybody says. */
  readonly total: number | undefined;
  readonly tag: string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  /** Ends the connection. */
  cancel(): void;
};

const stallMs = 30_000;
const tries = 5;
const firstPauseMs = 300;

/** "absent": nothing there, or a page in its place, as servers of apps send for every unknown path. Throws PassingTrouble, ConfigError or RequestError. */
export async function request(
  url: string,
  from: number,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Answer | "absent"> {
  const operation = `fetch ${quote(url, 300)}`;
  const stop = new AbortController();
  const watch = watchdog(() => stop.abort(new PassingTrouble(`nothing in ${stallMs / 1000} seconds`)));
  const both = AbortSignal.any([signal, stop.signal]);
  const cancel = () => {
    watch.stop();
    stop.abort(new PassingTrouble("cancelled"));
  };
  try {
    const response = await fetch(url, { headers: { range: `bytes=${from}-`, ...headers }, signal: both, cache: "no-store" });
    if (isAbsent(response)) {
      cancel();
      return "absent";
    }
    refuseStatus(response, operation);
    const place = placeOf(response, from);
    return { ...place, status: response.status, body: chunksOf(response, watch, signal, stop.signal), cancel };
  } catch (thrown) {
    watch.stop();
    throw asTrouble(thrown, signal, stop.signal);
  }
}

function isAbsent({ status, headers }: Response): boolean {
  return status === 404 || status === 410 || (status < 300 && /^text\/html\b/.test(headers.get("content-type") ?? ""));
}

function refuseStatus({ status, ok }: Response, operation: string): void {
  if (ok || status === 416) return;
  const got = `status ${status}`;
  if (status === 408 || status === 425 || status === 429 || status >= 500) throw new PassingTrouble(got);
  if (status === 401 || status === 403) {
    const cure = "for a gated model give hub: { token }, and accept its conditions at its page; else check the server";
    throw new ConfigError({ operation, got, expected: "a file that this page may fetch", cure });
  }
  throw new RequestError({ operation, got, expected: "status 200 or 206", cure: "check the URL" });
}

function placeOf({ status, headers }: Response, asked: number): Pick<Answer, "from" | "total" | "tag"> {
  const tag = headers.get("etag") ?? headers.get("last-modified") ?? undefined;
  const [, first, , size] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(headers.get("content-range") ?? "") ?? [];
  const [, unsatisfied] = /^bytes \*\/(\d{1,15})$/.exec(headers.get("content-range") ?? "") ?? [];
  if (status === 416) return { from: asked, total: unsatisfied === undefined ? undefined : Number(unsatisfied), tag };
  const from = status === 206 ? Number(first ?? asked) : 0;
  const said = headers.has("content-encoding") ? null : headers.get("content-length");
  const length = said !== null && /^\d{1,15}$/.test(said) ? Number(said) : undefined;
  const total = size !== undefined && size !== "*" ? Number(size) : length === undefined ? undefined : from + length;
  return { from, total, tag };
}

async function* chunksOf(response: Response, watch: Watchdog, signal: AbortSignal, stop: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  try {
    while (reader) {
      const { done, value } = await reader.read();
      if (done) return;
      watch.feed();
      yield value;
    }
  } catch (thrown) {
    throw asTrouble(thrown, signal, stop);
  } finally {
    watch.stop();
    await reader?.cancel().catch(() => {});
  }
}

function asTrouble(thrown: unknown, signal: AbortSignal, stop: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (stop.aborted) return stop.reason;
  // What fetch throws when the connection fails, or when the other origin does not allow this page; it does not tell which.
  if (thrown instanceof TypeError || (thrown instanceof DOMException && thrown.name === "NetworkError")) {
    return new PassingTrouble(navigator.onLine === false ? "no connection: the browser is offline" : `no connection (${thrown.message})`);
  }
  return thrown;
}

type Watchdog = { feed(): void; stop(): void };

function watchdog(bark: () => void): Watchdog {
  let timer = setTimeout(bark, stallMs);
  return {
    feed: () => {
      clearTimeout(timer);
      timer = setTimeout(bark, stallMs);
    },
    stop: () => clearTimeout(timer),
  };
}

/** Whole small answers, e.g. of an API; at most `limit` bytes. */
export async function requestText(
  url: string,
  headers: Readonly<Record<string, string>>,
  limit: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  return await withRetries(`fetch ${quote(url, 300)}`, signal, async () => {
    const answer = await request(url, 0, headers, signal);
    if (answer === "absent") return undefined;
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    for await (const chunk of answer.body) {
      chunks.push(chunk as Uint8Array<ArrayBuffer>);
      size += chunk.length;
      if (size <= limit) continue;
      answer.cancel();
      const operation = `fetch ${quote(url, 300)}`;
      throw new RequestError({ operation, got: `more than ${limit} bytes`, expected: "a short answer", cure: "check the URL" });
    }
    return await new Blob(chunks).text();
  });
}

/**
 * Runs `attempt` until it does not throw PassingTrouble. `progress` counts what came so far: an attempt that brought something begins the count of failures
 * anew. Throws RequestError after the last.
 */
export async function withRetries<T>(
  operation: string,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  let mark = progress();
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (thrown) {
      if (!(thrown instanceof PassingTrouble)) throw thrown;
      if (progress() > mark) failures = 1;
      mark = Math.max(mark, progress());
      if (failures >= tries) {
        const got = `${thrown.message}, after ${failures} attempts`;
        const cure =
          "check the connection, and that the server allows this page (CORS); load again: what has come stays and is not fetched twice";
        throw new RequestError({ operation, got, expected: "an answer", cure }, { cause: thrown });
      }
      await pause(firstPauseMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2), signal);
    }
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
  signal.throwIfAborted();
}
