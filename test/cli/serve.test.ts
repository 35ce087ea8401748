// `gradually serve` as a process: what it refuses to begin with, and how it ends.

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import { afterEach, describe, expect, test } from "vitest";

const main = path.join(import.meta.dirname, "../../src/cli/main.ts");
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

function start(...args: string[]): { child: ChildProcess; ended: Promise<number | null>; said: () => string; port: Promise<number> } {
  const child = spawn(process.execPath, [main, "serve", "--port", "0", "--threads", "1", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  let said = "";
  const ended = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const port = new Promise<number>((resolve, reject) => {
    child.stderr?.on("data", (data) => {
      said += data;
      const found = /ready: http:\/\/[^ ]+:(\d+)\/v1/.exec(said)?.[1];
      if (found) resolve(Number(found));
    });
    child.once("exit", () => reject(new Error(said)));
  });
  port.catch(() => {});
  return { child, ended, said: () => said, port };
}

describe("doors that do not open", () => {
  test.each([
    [["--host", "0.0.0.0"], 1, /got an address that other machines reach, and no key; expected a key; add --api-key/],
    [["--host", "::"], 1, /add --api-key/],
    [["--host", "192.168.1.1"], 1, /add --api-key/],
    [["--api-key", "a b"], 1, /got a key that no header can carry/],
    [["--port", "70000"], 2, /an integer from 0 to 65535/],
    [["--limit", "nothing=1"], 2, /Expected NAME=NUMBER/],
    [["--limit", "queue=999999999"], 1, /limit queue .* got 999999999; expected a number from 0 to 65536/],
    [["./no-such-model"], 1, /no such folder/],
    [["a=countdown-reasoner", "a=countdown-reasoner"], 1, /two models called "a"/],
  ] as const)(
    "%j",
    async (args, code, message) => {
      const { ended, said } = start(...args);
      expect(await ended).toBe(code);
      expect(said()).toMatch(message);
      expect(said().trim().split("\n")).toHaveLength(1);
    },
    30_000,
  );
});

test.runIf(process.platform === "linux")(
  "the process began anew with a small young generation, unless somebody set its size",
  async () => {
    const commandOf = async ({ child, port }: ReturnType<typeof start>) => {
      await port;
      return readFileSync(`/proc/${child.pid}/cmdline`, "utf8").split("\0");
    };
    expect(await commandOf(start())).toContain("--max-semi-space-size=4");
    process.env.NODE_OPTIONS = "--max-semi-space-size=16";
    try {
      expect(await commandOf(start())).not.toContain("--max-semi-space-size=4");
    } finally {
      delete process.env.NODE_OPTIONS;
    }
  },
  30_000,
);

describe("the end of the process", () => {
  const body = JSON.stringify({
    messages: [{ role: "user", content: "3 5 7=22" }],
    stream: true,
    temperature: 1,
    max_tokens: 300,
    ignore_eos: true,
  });
  const ask = async (port: number) => {
    const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer k" },
      body,
    });
    const text = response.text();
    text.catch(() => {});
    return { status: response.status, text };
  };

  test("L10: SIGTERM: what comes is answered 503, streams finish with [DONE], exit 0, the port is free", async () => {
    const { child, ended, port } = start("--api-key", "k");
    const at = await port;
    const streams = await Promise.all(Array.from({ length: 40 }, () => ask(at)));
    child.kill("SIGTERM");
    await new Promise((next) => setTimeout(next, 50));
    const ready = await fetch(`http://127.0.0.1:${at}/ready`);
    expect([ready.status, await ready.json()]).toEqual([503, { ready: false, state: "draining" }]);
    const late = await fetch(`http://127.0.0.1:${at}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer k" },
      body,
    });
    expect([late.status, late.headers.get("retry-after"), late.headers.get("connection")]).toEqual([503, "10", "close"]);
    for (const { text } of streams) expect((await text).endsWith("data: [DONE]\n\n")).toBe(true);
    expect(await ended).toBe(0);
    await expect(fetch(`http://127.0.0.1:${at}/health`)).rejects.toThrow();
  }, 60_000);

  test("L12: a second SIGTERM ends it at once; L13: SIGINT ends an idle one, and so does a terminal that is closed", async () => {
    const first = start("--api-key", "k", "--limit", "graceSeconds=60");
    const at = await first.port;
    const streams = await Promise.all(Array.from({ length: 20 }, () => ask(at)));
    first.child.kill("SIGTERM");
    await new Promise((next) => setTimeout(next, 100));
    const begun = performance.now();
    first.child.kill("SIGTERM");
    expect(await first.ended).toBe(0);
    expect(performance.now() - begun).toBeLessThan(2000);
    const texts = await Promise.all(streams.map(async ({ text }) => await text));
    expect(texts.some((text) => text.endsWith('"code":"shutting_down"}}\n\n'))).toBe(true);
    expect(texts.every((text) => /(?:\[DONE\]|\}\})\n\n$/.test(text))).toBe(true);
    for (const signal of ["SIGINT", "SIGHUP"] as const) {
      const idle = start();
      await idle.port;
      idle.child.kill(signal);
      expect(await idle.ended, signal).toBe(0);
    }
  }, 60_000);
});
