// Processes that may do little: prototypes that nobody can change (X12), Node's permission model (X13), no network (X11). `run` answers in each as everywhere,
// and `serve` serves.

import { type ChildProcess, spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import * as path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { cli, root } from "./cli.ts";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

const inline = (code: string) => `--import="data:text/javascript,${encodeURIComponent(code)}"`;
const frozen = inline(
  "for (const one of [Object, Array, Function, String, Number, Boolean, RegExp, Map, Set, Promise, Uint8Array, Float32Array, Int32Array]) Object.freeze(one.prototype)",
);
const offline = inline(
  `import net from "node:net"; import dns from "node:dns"; const no = () => { throw new Error("the network was used"); };
   net.Socket.prototype.connect = no; dns.lookup = no; dns.promises.lookup = no; globalThis.fetch = no;`,
);
const readable = [root, realpathSync(path.join(root, "node_modules"))].map((folder) => `--allow-fs-read=${folder}`).join(" ");

/** [what it is, flags of Node, whether threads can be had]. */
const ways: readonly (readonly [string, string, boolean])[] = [
  ["with frozen prototypes and without __proto__", `${frozen} --disable-proto=throw`, true],
  ["under the permission model, which gives no threads", `--permission ${readable}`, false],
  ["under the permission model, with threads", `--permission --allow-worker ${readable}`, true],
  ["without a network", offline, true],
];

async function serve(flags: string): Promise<{ url: string; said: () => string }> {
  const args = [path.join(root, "src/cli/main.ts"), "serve", "--port", "0", "--threads", "2"];
  const child = spawn(process.execPath, args, { env: { ...process.env, NODE_OPTIONS: flags }, stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  let said = "";
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr?.on("data", (data) => {
      said += data;
      const found = /ready: (http:\/\/[^ ]+\/v1)/.exec(said)?.[1];
      if (found) resolve(found);
    });
    child.once("exit", () => reject(new Error(said)));
  });
  return { url, said: () => said };
}

async function post(url: string, body: object): Promise<{ status: number; text: string }> {
  const response = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ role: "user", content: "3 5 7=22" }], temperature: 0, ...body }),
  });
  return { status: response.status, text: await response.text() };
}

describe.each(ways)("%s", (_, flags, hasThreads) => {
  test("run says what it says elsewhere", async () => {
    const args = ["run", "3 5 7=22", "--json", "--temperature", "0"];
    const [free, held] = await Promise.all([cli(args), cli(args, { env: { NODE_OPTIONS: flags } })]);
    expect(held.code, held.err).toBe(0);
    const text = ({ out }: { out: string }) => (JSON.parse(out) as { text: string }).text;
    expect(text(held)).toBe(text(free));
  });

  // A network that is switched off cannot be served on.
  test.skipIf(flags === offline)("serve answers; a structure too, where its thread can be had", async () => {
    const { url, said } = await serve(flags);
    const [whole, streamed] = await Promise.all([post(url, {}), post(url, { stream: true })]);
    expect(whole, said()).toMatchObject({ status: 200, text: expect.stringContaining("(5*3)+7") });
    expect(streamed.text.endsWith("data: [DONE]\n\n")).toBe(true);
    const structured = await post(url, { response_format: { type: "json_object" }, max_tokens: 20 });
    expect(structured.status, said()).toBe(hasThreads ? 200 : 500);
    if (!hasThreads) expect(structured.text).toContain("--allow-worker");
    expect((await post(url, {})).status).toBe(200);
  });
});

test("the network that is switched off here is one that a pull would use", async () => {
  const pulled = await cli(["pull", "hf:Qwen/Qwen3-0.6B"], { env: { NODE_OPTIONS: offline } });
  expect(pulled.code).toBe(1);
  expect(pulled.err).toContain("the network was used");
});
