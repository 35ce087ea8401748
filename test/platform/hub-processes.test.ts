// Several processes and killed ones: H28 and H29. The server sends slowly, so that there is time to interfere. GRADUALLY_KILLS sets how often the kill test
// kills (8 in a normal run).

import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { parseHubName } from "../../src/formats/hub-names.ts";
import { findCached } from "../../src/platform/hub/cache.ts";
import { pullModel } from "../../src/platform/hub/pull.ts";
import { lockFile } from "../../src/platform/node-lock.ts";
import { blobsOf, expectTidy, filesBelow, hubPlace, noise, tinyModel } from "./hub-place.ts";
import { gitHash, sha256 } from "./hub-server.ts";

vi.setConfig({ testTimeout: 60_000 });

const place = hubPlace();
const name = parseHubName("hf:org/tiny");
const weights = "model.safetensors";
const bytes = noise(300_000, 1);
const kills = Number(process.env.GRADUALLY_KILLS ?? 8);

let sent = 0;
let onSent: (() => void) | undefined;

beforeEach(() => {
  sent = 0;
  onSent = undefined;
  place.server.add("org/tiny", { ...tinyModel(), [weights]: bytes });
  place.server.fault = ({ request, response }) => {
    if (request.at !== "store") return false;
    let at = Number(/\d+/.exec(request.range ?? "0")?.[0]);
    const range = request.range === undefined ? {} : { "content-range": `bytes ${at}-${bytes.length - 1}/${bytes.length}` };
    response.writeHead(request.range === undefined ? 200 : 206, { "content-length": bytes.length - at, ...range });
    const step = () => {
      if (response.destroyed) return;
      const chunk = bytes.subarray(at, at + 3000);
      at += chunk.length;
      sent += chunk.length;
      response.write(chunk);
      onSent?.();
      if (at < bytes.length) setTimeout(step, 2);
      else response.end();
    };
    step();
    return true;
  };
});

type Child = { readonly process: ChildProcess; readonly done: Promise<{ code: number | null; out: string }> };

function child(): Child {
  const script = path.join(import.meta.dirname, "hub-child.ts");
  const made = spawn(process.execPath, [script, place.server.endpoint, place.cache, "hf:org/tiny"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  made.stdout.on("data", (text) => {
    out += text;
  });
  return { process: made, done: new Promise((resolve) => made.on("close", (code) => resolve({ code, out }))) };
}

/** Every file under a final name has the hash that the name says; every link of a snapshot leads to one. */
function expectNothingPartial(): void {
  const blobs = blobsOf(place.cache, "org/tiny");
  for (const file of filesBelow(blobs).filter((blob) => !blob.endsWith(".incomplete"))) {
    const content = fs.readFileSync(path.join(blobs, file));
    expect(file).toBe(file.length === 64 ? sha256(content) : gitHash(content));
  }
  const snapshots = path.join(place.cache, "models--org--tiny", "snapshots");
  for (const file of filesBelow(snapshots)) expect(fs.statSync(path.join(snapshots, file)).isFile()).toBe(true);
}

test(`H29: killed at ${kills} random points, continued each time; the file is right and nothing partial had its name`, async () => {
  let random = 7;
  const next = (limit: number) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % limit;
  };
  for (let i = 0; i < kills; i++) {
    // Now and then before the first byte of the weights; else after a piece of what is left.
    const goal = sent + (next(5) === 0 ? 0 : 1 + next((2 * bytes.length) / (kills + 2)));
    const one = child();
    const reached = new Promise<void>((resolve) => {
      onSent = () => {
        if (sent >= goal) resolve();
      };
    });
    const early = new Promise<void>((resolve) => setTimeout(resolve, goal === sent ? next(600) : 20_000));
    await Promise.race([reached, early, one.done]);
    one.process.kill("SIGKILL");
    await one.done;
    expectNothingPartial();
    const there = await findCached(place.settings, name);
    if (there) expect(fs.readFileSync(path.join(there.path, weights)).equals(bytes)).toBe(true);
  }
  onSent = undefined;
  expect(await child().done).toMatchObject({ code: 0 });
  const found = await findCached(place.settings, name);
  expect(fs.readFileSync(path.join(found?.path ?? "", weights)).equals(bytes)).toBe(true);
  expectNothingPartial();
  expectTidy(place.cache, "org/tiny");
  // Continued, not begun again: every request but the first starts where a part ended, and never before the one before it.
  const starts = place.server.asked("store", weights).map(({ range }) => Number(/\d+/.exec(range ?? "0")?.[0]));
  expect(starts.length).toBeGreaterThan(2);
  expect(starts).toEqual([...starts].sort((a, b) => a - b));
  expect(starts.at(-1)).toBeGreaterThan(0);
});

test("H28: two processes at once: the second waits and takes the first one's file", async () => {
  const both = await Promise.all([child().done, child().done]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(both[0]?.out).toBe(both[1]?.out);
  expect(place.server.asked("store", weights)).toHaveLength(1);
  expect(fs.readFileSync(path.join(both[0]?.out ?? "", weights)).equals(bytes)).toBe(true);
  expectNothingPartial();
  expectTidy(place.cache, "org/tiny");
});

test("H28: the one that fetches is killed: the one that waits goes on from there; the same within one process", async () => {
  const first = child();
  await new Promise<void>((resolve) => {
    onSent = () => {
      if (sent > 60_000) resolve();
    };
  });
  onSent = undefined;
  const waits: string[] = [];
  const both = Promise.all(
    Array.from({ length: 2 }, () => pullModel(place.settings, name, { onWait: (file, holder) => waits.push(`${file} ${holder}`) })),
  );
  await vi.waitFor(() => expect(waits.filter((wait) => wait === `${weights} ${first.process.pid}`)).toHaveLength(2), { timeout: 5000 });
  first.process.kill("SIGKILL");
  for (const { path: folder } of await both) expect(fs.readFileSync(path.join(folder, weights)).equals(bytes)).toBe(true);
  const asked = place.server.asked("store", weights).map(({ range }) => Number(/\d+/.exec(range ?? "0")?.[0]));
  expect(asked).toHaveLength(2);
  expect(asked[1]).toBeGreaterThan(20_000);
  expectTidy(place.cache, "org/tiny");
});

test("a holder that does not get on is told of, by its number", async () => {
  const locks = path.join(place.cache, ".locks", "models--org--tiny");
  fs.mkdirSync(locks, { recursive: true });
  const lock = await lockFile(path.join(locks, `${sha256(bytes)}.lock`));
  const settings = { ...place.settings, patience: { ...place.settings.patience, lockMs: 300 } };
  await expect(pullModel(settings, name)).rejects.toThrow(new RegExp(`process ${process.pid}, which has had it for long`));
  await expect(pullModel(settings, name)).rejects.toThrow(ConfigError);
  await lock.release();
});
