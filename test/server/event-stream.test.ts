// The body of a streamed answer, read as a stream and from behind it: the same texts, comments in silences, and an end for clients that read nothing or go.

import { describe, expect, test } from "vitest";
import { eventStream, type Feed, feedOf, type Piece } from "../../src/server/event-stream.ts";

const pause = (ms: number) => new Promise((next) => setTimeout(next, ms));

/** Texts with pauses (numbers, milliseconds) between them; an Error ends them. */
function made(parts: readonly (string | number | Error)[]) {
  let at = 0;
  return async (): Promise<Piece> => {
    for (;;) {
      const part = parts[at++];
      if (part instanceof Error) throw part;
      if (typeof part !== "number") return { text: part ?? "", isLast: at >= parts.length };
      await pause(part);
    }
  };
}

function open(parts: readonly (string | number | Error)[], limits: { keepAliveSeconds?: number; writeSeconds?: number } = {}) {
  const gone: Error[] = [];
  const body = eventStream(made(parts), {
    keepAliveSeconds: 60,
    writeSeconds: 60,
    ...limits,
    comment: ":\n\n",
    onGone: (reason) => gone.push(reason),
  });
  return { body, gone };
}

/** As a host does: with an outlet whose client is slow where `isClear` says so. */
async function readFeed(feed: Feed, isClear = () => true) {
  const heard: string[] = [];
  const failures: Error[] = [];
  feed.outlet = { write: (text) => void heard.push(text), isClear, fail: (reason) => void failures.push(reason) };
  for (let piece = await feed.next(); piece; piece = await feed.next()) heard.push(piece.text);
  return { heard, failures };
}

test("the stream and what is behind it say the same; the feed is found behind a copied Response", async () => {
  const parts = ["a", "é", 5, "中\n\n", "end"];
  expect(await new Response(open(parts).body).text()).toBe("aé中\n\nend");
  const response = new Response(open(parts).body, { headers: { a: "b" } });
  const copied = new Response(response.body, response);
  const feed = feedOf(copied.body as ReadableStream<Uint8Array>);
  expect((await readFeed(feed as Feed)).heard).toEqual(["a", "é", "中\n\n", "end"]);
  expect(await (feed as Feed).next()).toBeUndefined();
});

describe.each(["the stream", "the feed"] as const)("%s", (kind) => {
  const read = async ({ body }: ReturnType<typeof open>) =>
    kind === "the stream" ? await new Response(body).text() : (await readFeed(feedOf(body) as Feed)).heard.join("");

  test("a comment in each silence", async () => {
    expect(await read(open(["a", 250, "b"], { keepAliveSeconds: 0.1 }))).toMatch(/^a(?::\n\n){1,2}b$/);
  });

  test("what ends the answer ends it", async () => {
    const opened = open(["a", new Error("broken")]);
    await expect(read(opened)).rejects.toThrow("broken");
    expect(opened.gone).toEqual([]);
  });

  test("a client that goes away is told of once, and what was asked for ends", async () => {
    const opened = open(["a", 60_000]);
    const feed = feedOf(opened.body) as Feed;
    if (kind === "the stream") {
      const reader = opened.body.getReader();
      await reader.read();
      const next = reader.read();
      await reader.cancel(new Error("left"));
      expect((await next).done).toBe(true);
    } else {
      await feed.next();
      const next = feed.next();
      feed.cancel(new Error("left"));
      feed.cancel(new Error("left again"));
      expect(await next).toBeUndefined();
    }
    expect(opened.gone.map(({ message }) => message)).toEqual(["left"]);
    expect(await feed.next()).toBeUndefined();
  });

  test("a client that takes nothing is given up", async () => {
    const opened = open(["a", "b"], { writeSeconds: 0.1 });
    const feed = feedOf(opened.body) as Feed;
    const failures: Error[] = [];
    const reader = kind === "the stream" ? opened.body.getReader() : undefined;
    if (reader) await reader.read();
    else {
      feed.outlet = { write: () => {}, isClear: () => false, fail: (reason) => void failures.push(reason) };
      await feed.next();
    }
    await pause(400);
    expect(opened.gone.map(({ message }) => message)).toEqual(["the client read nothing for 0.1 s"]);
    if (reader) await expect(reader.read()).rejects.toThrow("read nothing");
    else expect(failures).toEqual(opened.gone);
  });
});
