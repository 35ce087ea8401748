// The limits of the server as data: the validator, the OpenAPI document, the help of `serve` and the tests read this one table. In: what
// the operator changes. Out: the limits of one server. Every number has a reason beside it.

import { ConfigError } from "../core/errors.ts";

export type Limits = {
  readonly [name in keyof typeof limitTable]: number;
};

type Row = { readonly standard: number; readonly least: number; readonly most: number; readonly about: string };

const row = (standard: number, least: number, most: number, about: string): Row => ({ standard, least, most, about });

export const limitTable = {
  bodyBytes: row(8_388_608, 1_024, 268_435_456, "bytes of a request's body"),
  jsonDepth: row(64, 8, 200, "nesting of arrays and objects in a body"),
  messages: row(2_048, 1, 10_000, "messages of a conversation"),
  parts: row(64, 1, 1_000, "parts of one message's content"),
  promptIds: row(1_048_576, 1, 4_194_304, "ids of a prompt that is given as ids"),
  prompts: row(32, 1, 1_024, "prompts of one completion request"),
  sequences: row(16, 1, 128, "n, and prompts times n"),
  stops: row(16, 1, 64, "stop texts"),
  stopCharacters: row(1_024, 1, 16_384, "characters of one stop text"),
  biases: row(300, 1, 1_024, "entries of logit_bias"),
  topLogprobs: row(20, 0, 20, "top_logprobs"),
  tools: row(128, 1, 1_000, "tools"),
  toolBytes: row(262_144, 256, 4_194_304, "characters of all tools together, as JSON"),
  schemaBytes: row(65_536, 256, 4_194_304, "characters of a JSON schema, as JSON"),
  queue: row(128, 0, 65_536, "sequences that wait while all slots are busy; more are answered 429"),
  streamBytes: row(262_144, 4_096, 16_777_216, "bytes that gather for one client that reads too slowly, before it is cut"),
  chunksPerSecond: row(250, 10, 1_000_000, "chunks that all streams together get each second; what is made faster shares a chunk"),
  writeSeconds: row(60, 1, 3_600, "seconds that a client may leave a stream unread"),
  keepAliveSeconds: row(15, 1, 3_600, "seconds of silence after which a stream gets a comment"),
  requestSeconds: row(3_600, 1, 604_800, "seconds that one request may take"),
  loadSeconds: row(30, 0, 3_600, "seconds that a request waits for its model to be loaded, before it is answered 503"),
  graceSeconds: row(30, 0, 3_600, "seconds that running requests get to finish after SIGTERM"),
  runs: row(500, 1, 10_000, "runs in the list of /runs"),
  runFileBytes: row(8_388_608, 1_024, 67_108_864, "bytes of one file of a run"),
  logBytes: row(1_048_576, 4_096, 16_777_216, "bytes of a log in one answer"),
  headerBytes: row(16_384, 1_024, 65_536, "bytes of a request's headers"),
  headers: row(100, 10, 2_000, "headers of a request"),
  headerSeconds: row(10, 1, 300, "seconds in which the headers must have come"),
  bodySeconds: row(60, 1, 3_600, "seconds in which the whole request must have come"),
  idleSeconds: row(60, 1, 3_600, "seconds that a connection without a request is kept"),
  connections: row(8_192, 1, 65_536, "open connections"),
} as const satisfies Record<string, Row>;

/** The table's standard numbers with the operator's own. Throws ConfigError naming the limit. */
export function makeLimits(changes: Partial<Limits> = {}): Limits {
  const limits: Record<string, number> = {};
  for (const [name, { standard, least, most, about }] of Object.entries<Row>(limitTable)) {
    const value = changes[name as keyof Limits] ?? standard;
    if (!Number.isFinite(value) || value < least || value > most) {
      throw new ConfigError({
        operation: `server: limit ${name} (${about})`,
        got: String(value),
        expected: `a number from ${least} to ${most}`,
        cure: `leave it out for ${standard}`,
      });
    }
    limits[name] = value;
  }
  return limits as Limits;
}
