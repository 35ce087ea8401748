// A request's body, read piece by piece: what is taken, what is refused with which status, and how much of it is read before that.

import { expect, test } from "vitest";
import { readJsonBody } from "../../src/server/body.ts";
import type { AppRequest } from "../../src/server/call.ts";
import { makeLimits } from "../../src/server/limits.ts";
import type { Refusal } from "../../src/server/refusal.ts";

const limits = makeLimits({ bodyBytes: 1024, jsonDepth: 8 });
const json = { "content-type": "application/json" };

type Made = { request: AppRequest; pulled: () => number; isCancelled: () => boolean };

/** A body in pieces, as Node hands it over (`read`) or as a stream of the web. */
function requestOf(
  pieces: readonly (string | Uint8Array | Error)[],
  headers: Record<string, string> = json,
  how: "read" | "stream" = "read",
): Made {
  let pulled = 0;
  let cancelled = false;
  const next = (): Uint8Array | undefined => {
    const piece = pieces[pulled++];
    if (piece instanceof Error) throw piece;
    return typeof piece === "string" ? new TextEncoder().encode(piece) : piece;
  };
  const stream = () =>
    new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const piece = next();
          if (piece) controller.enqueue(piece);
          else controller.close();
        },
        cancel: () => {
          cancelled = true;
        },
      },
      { highWaterMark: 0 },
    );
  const common = { method: "POST", url: "http://localhost/", signal: new AbortController().signal, headers: new Headers(headers) };
  const request: AppRequest = how === "read" ? { ...common, read: async () => next() } : { ...common, body: stream() };
  return { request, pulled: () => pulled, isCancelled: () => cancelled };
}

async function refusal(made: Made, unsaid = false): Promise<Refusal> {
  return await readJsonBody(made.request, limits, unsaid).then(
    (value) => {
      throw new Error(`taken: ${JSON.stringify(value)}`);
    },
    (error: Refusal) => error,
  );
}

test.each(["read", "stream"] as const)("pieces are one body, however they are cut (%s)", async (how) => {
  const text = '{"a":"é中🙂","b":[1,2,{"c":null}]}';
  const bytes = new TextEncoder().encode(text);
  for (const cut of [1, 2, 3, 7, bytes.length]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / cut) }, (_, i) => bytes.slice(i * cut, (i + 1) * cut));
    expect(await readJsonBody(requestOf(pieces, json, how).request, limits)).toEqual(JSON.parse(text));
  }
  expect((await refusal(requestOf([], json, how))).message).toContain("the end of the text");
});

test.each(["read", "stream"] as const)("the limit is the last size that is taken; beyond it nothing more is read (%s)", async (how) => {
  const sized = (size: number) => `{"a":"${"x".repeat(size - 8)}"}`;
  const halves = (text: string) => [text.slice(0, 500), text.slice(500)];
  expect(await readJsonBody(requestOf(halves(sized(1024)), json, how).request, limits)).toHaveProperty("a");
  const made = requestOf([...halves(sized(1025)), "more", "and more"], json, how);
  const error = await refusal(made);
  expect(error.options).toMatchObject({ status: 413, headers: { connection: "close" } });
  expect(error.message).toContain("got a body of more than 1024 bytes; expected at most 1024 bytes");
  expect(made.pulled()).toBe(2);
  expect(made.isCancelled()).toBe(how === "stream");
});

test("a length that is announced above the limit is refused unread", async () => {
  const announced = (length: number) => requestOf(['{"a":1}'], { ...json, "content-length": String(length) });
  const made = announced(1025);
  expect([(await refusal(made)).options.status, made.pulled()]).toEqual([413, 0]);
  expect(await readJsonBody(announced(1024).request, limits)).toEqual({ a: 1 });
});

test.each(["application/json", "APPLICATION/JSON ; charset=utf-8", "application/problem+json", "application/vnd.a.b+json"])(
  "%j is JSON",
  async (type) => {
    expect(await readJsonBody(requestOf(["{}"], { "content-type": type }).request, limits)).toEqual({});
  },
);

test.each(["", "text/plain", "text/json", "application/jsonx", "xapplication/json", "application/+json", "application/json, text/plain"])(
  "%j is not, and nothing is read",
  async (type) => {
    const made = requestOf(["{}"], type === "" ? {} : { "content-type": type });
    const error = await refusal(made);
    expect([error.options.status, made.pulled()]).toEqual([415, 0]);
    expect(error.message).toContain(type === "" ? "got no Content-Type" : `got Content-Type ${JSON.stringify(type)}`);
  },
);

test("where JSON may come unsaid it comes without a type or as curl sends it, from no page", async () => {
  const form = { "content-type": "application/x-www-form-urlencoded" };
  for (const headers of [{}, form]) {
    expect(await readJsonBody(requestOf(["{}"], headers).request, limits, true)).toEqual({});
    expect((await refusal(requestOf(["{}"], headers))).options.status).toBe(415);
    const pages: Record<string, string>[] = [{ origin: "null" }, { "sec-fetch-site": "none" }];
    for (const page of pages) expect((await refusal(requestOf(["{}"], { ...headers, ...page }), true)).options.status).toBe(415);
  }
  expect((await refusal(requestOf(["{}"], { "content-type": "text/plain" }), true)).options.status).toBe(415);
});

test("encodings: none, or one that changes nothing", async () => {
  for (const encoding of ["identity", " Identity ", ""])
    expect(await readJsonBody(requestOf(["{}"], { ...json, "content-encoding": encoding }).request, limits)).toEqual({});
  for (const encoding of ["gzip", "br", "identity, gzip"])
    expect((await refusal(requestOf(["{}"], { ...json, "content-encoding": encoding }))).options.status).toBe(415);
});

test("a body that breaks off, or does not come in time", async () => {
  const late = new DOMException("late", "TimeoutError");
  expect((await refusal(requestOf(['{"a', late]))).options.status).toBe(408);
  expect((await refusal(requestOf(['{"a', new Error("reset")]))).options.status).toBe(400);
  expect((await refusal(requestOf(['{"a', new Error("reset")]))).message).toContain("a body that broke off");
});

test.each([
  ['{"a":1', "at line 1, column 7"],
  ["[]", "a body that is a list"],
  ["null", "a body that is null"],
  ['"x"', "a body that is a string"],
  ["1", "a body that is a number"],
  ["true", "a body that is a boolean"],
  [`{"a":${"[".repeat(8)}${"]".repeat(8)}}`, "nested deeper than 8"],
  ['{"a":1,"a":2}', 'the key "a" a second time'],
  ['{"__proto__":1}', 'a key "__proto__"'],
  ['{"a":[1,{"b":[{"__proto__":1}]}]}', 'a key "__proto__"'],
  ['{"a":{"\\u005f_proto__":1}}', 'a key "__proto__"'],
])("%j is refused", async (text, got) => {
  const error = await refusal(requestOf([text]));
  expect(error.options).toMatchObject({ status: 400, code: "invalid_json" });
  expect(error.message).toContain(got);
});

test("what only looks like a bad key is taken", async () => {
  for (const text of [
    '{"a":"__proto__"}',
    '{"\\u0061":["\\u005f"]}',
    '{"proto":{"__proto":1}}',
    '{"n":9007199254740993}',
    `{"a":${"[".repeat(7)}${"]".repeat(7)}}`,
  ])
    expect(await readJsonBody(requestOf([text]).request, limits)).toEqual(JSON.parse(text));
});

test("bytes that are no UTF-8, and a byte order mark", async () => {
  expect((await refusal(requestOf([Uint8Array.of(0x7b, 0xff, 0x7d)]))).message).toContain("bytes that are not UTF-8");
  expect((await refusal(requestOf(["\ufeff{}"]))).options.status).toBe(400);
});
