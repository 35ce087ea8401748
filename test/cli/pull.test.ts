// The verbs pull, ls, rm and a MODEL of the Hub, each in a process of its own against a Hub on this machine.

import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HubServer } from "../platform/hub-server.ts";
import { cli, expectUsage, fixtures, json, temporaryFolder } from "./cli.ts";

const home = temporaryFolder();
let server: HubServer;
let env: Record<string, string> = {};

beforeAll(async () => {
  server = await HubServer.start();
  const folder = path.join(fixtures, "llama-gqa");
  const files = Object.fromEntries(fs.readdirSync(folder).map((file) => [file, fs.readFileSync(path.join(folder, file))]));
  server.add("org/llama", { ...files, "pytorch_model.bin": "x" });
  server.add("org/gguf", { "m-Q4_K_M.gguf": "GGUF" });
  env = {
    HF_HOME: home.path,
    HF_HUB_CACHE: "",
    HUGGINGFACE_HUB_CACHE: "",
    HF_ENDPOINT: server.endpoint,
    HF_TOKEN: "hf_secret",
    HF_HUB_OFFLINE: "",
  };
});
afterAll(async () => {
  await server.stop();
  home.remove();
});

test("a model that is not here is fetched, then run; the second time nobody is asked", async () => {
  const first = await json(["logits", "hf:org/llama", "--ids", "1,2,3", "--device", "reference"], { env });
  const local = await json(["logits", path.join(fixtures, "llama-gqa"), "--ids", "1,2,3", "--device", "reference"]);
  expect(first.logits).toEqual(local.logits);
  server.requests.length = 0;
  const offline = await json(["logits", "hf:org/llama", "--ids", "1,2,3", "--device", "reference"], {
    env: { ...env, HF_HUB_OFFLINE: "1" },
  });
  expect(offline.logits).toEqual(local.logits);
  expect(server.requests).toEqual([]);
});

test("pull says where it lies and how to run it; ls lists it, rm removes it", async () => {
  const pulled = await cli(["pull", "hf:org/gguf"], { env });
  expect(pulled).toMatchObject({ code: 0 });
  expect(pulled.out).toMatch(/m-Q4_K_M\.gguf\n1 file, 4 B; 4 B fetched\nnext: gradually run hf:org\/gguf\n$/);
  expect(pulled.err).toMatch(/^pulling hf:org\/gguf\npull 4 B of 4 B/);
  expect(pulled.err).not.toContain("hf_secret");
  const again = await json(["pull", "hf:org/gguf:q4_k_m"], { env });
  expect(again).toMatchObject({ model: "hf:org/gguf:q4_k_m", kind: "file", bytes: 4, fetched_bytes: 0 });
  const { models, cache } = await json(["ls"], { env });
  expect(cache).toBe(path.join(home.path, "hub"));
  expect(models).toMatchObject([
    { model: "countdown-reasoner", kind: "bundled" },
    { model: "hf:org/gguf:m-Q4_K_M.gguf", kind: "gguf", bytes: 4, parameters: null },
    { model: "hf:org/llama", kind: "safetensors", parameters: expect.any(Number) },
  ]);
  const listed = await cli(["ls"], { env });
  expect(listed.out).toMatch(/^hf:org\/llama +safetensors +\S+ [KM]?i?B +[\d.]+K +\S+ s ago$/m);
  expect(await json(["rm", "hf:org/gguf"], { env })).toEqual({ model: "hf:org/gguf", freed_bytes: 4 });
  expect(await cli(["rm", "hf:org/gguf"], { env })).toMatchObject({
    code: 1,
    out: "",
    err: expect.stringContaining("no such model in the cache"),
  });
});

test("what cannot be fetched is one line and exit 1; offline says so; usage is exit 2", async () => {
  const failures: [string[], RegExp, Record<string, string>?][] = [
    [["pull", "hf:org/none"], /^error: ask the Hub for hf:org\/none: got status 404 \(RepoNotFound\); expected .*; look at .*\n$/],
    [["pull", "hf:../x"], /^error: read the name of a model: got "hf:\.\.\/x"; expected .*\n$/],
    [["run", "hf:org/none", "x"], /HF_HUB_OFFLINE is set; .*; unset HF_HUB_OFFLINE and pull it\n$/, { HF_HUB_OFFLINE: "1" }],
    [["pull", "hf:org/llama"], /read HF_ENDPOINT/, { HF_ENDPOINT: "nowhere" }],
  ];
  for (const [args, text, more] of failures) {
    const ran = await cli(args, { env: { ...env, ...more } });
    expect(ran).toMatchObject({ code: 1, out: "" });
    expect(ran.err).toMatch(text);
    expect(ran.err).not.toContain("hf_secret");
  }
  await expectUsage(["pull"], "missing required argument 'model'");
});
