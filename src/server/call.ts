// What a handler is given: one request, checked, and the server that it came to.

import type { Account } from "./account.ts";
import type { Caller, Gate } from "./guard.ts";
import type { Limits } from "./limits.ts";
import type { LogFields } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Pacer } from "./pacer.ts";
import type { PageFiles } from "./page.ts";
import type { Dialect } from "./refusal.ts";
import type { RunsFolder } from "./runs.ts";
import type { Shelf } from "./shelf.ts";

export type ReasoningField = "reasoning_content" | "reasoning" | "both";

export type ServerState = "starting" | "ready" | "draining";

export type Server = {
  readonly version: string;
  readonly shelf: Shelf;
  readonly gate: Gate;
  readonly limits: Limits;
  readonly metrics: Metrics;
  /** Of all streams. */
  readonly pacer: Pacer;
  /** Seconds, monotonic. */
  readonly now: () => number;
  /** The same for all tokens of a step. */
  readonly tokenNow: () => number;
  readonly reasoningField: ReasoningField;
  /** Prompts and answers in the log. */
  readonly logTexts: boolean;
  readonly log: (event: string, fields: LogFields) => void;
  /** Whether answers may be shared between requests of one key by the beginning of their prompts. */
  readonly sharePrefixes: boolean;
  readonly page: PageFiles | undefined;
  readonly runs: RunsFolder | undefined;
  /** The document of the API. */
  openApi(): object;
  state: ServerState;
  /** Ends what runs, with a reason: the grace time is over. */
  readonly live: Set<AbortController>;
};

/** What the server asks of a request. The web's Request has it; a host with messages of its own gives just this. */
export type AppRequest = Pick<Request, "method" | "url" | "signal"> & {
  /** Names in lower case. */
  readonly headers: Pick<Headers, "get" | "has">;
  readonly body?: ReadableStream<Uint8Array> | null;
  /** In place of `body`: its next piece; undefined at its end. */
  read?(): Promise<Uint8Array | undefined>;
};

export type Call<Body = unknown> = {
  readonly server: Server;
  readonly request: AppRequest;
  readonly body: Body;
  readonly params: Readonly<Record<string, string>>;
  /** `req-…`: in the answer's headers, in errors, in the log. */
  readonly id: string;
  readonly dialect: Dialect;
  readonly caller: Caller;
  /** Only of generation requests. */
  readonly account: Account | undefined;
  /** Adds to the request's line in the log. */
  note(fields: LogFields): void;
};

/** Random bytes, drawn by the block: a request needs three ids. Each byte is used once. */
const noise = new Uint8Array(1536);
let used = noise.length;
const digits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Letters and digits that nobody can guess, after a prefix. */
export function newId(prefix: string): string {
  if (used === noise.length) {
    crypto.getRandomValues(noise);
    used = 0;
  }
  let id = prefix;
  for (const end = used + 12; used < end; used++) id += digits[noise[used] as number];
  return id;
}

/** Unix time in seconds, as OpenAI's `created`. */
export function unixTime(): number {
  return Math.floor(Date.now() / 1000);
}
