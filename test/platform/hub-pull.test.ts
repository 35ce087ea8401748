// Pulling from an honest server: what is fetched, where it lies, what is asked again.

import * as fs from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import { ConfigError, DeviceError } from "../../src/core/errors.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { parseHubName } from "../../src/formats/hub-names.ts";
import { findCached, listCached } from "../../src/platform/hub/cache.ts";
import { findOrPull, type PullProgress, pullModel } from "../../src/platform/hub/pull.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { expectTidy, filesBelow, hubPlace, noise, tinyModel } from "./hub-place.ts";
import { gitHash, sha256 } from "./hub-server.ts";

const place = hubPlace();
const name = parseHubName("hf:org/tiny");

test("a folder of safetensors lies in the standard layout, hashes as names, links as files, the branch in refs", async () => {
  const { files, commit } = place.server.add("org/tiny", tinyModel());
  const seen: PullProgress[] = [];
  const pulled = await pullModel(place.settings, name, { onProgress: (progress) => seen.push(progress) });
  const folder = path.join(place.cache, "models--org--tiny");
  expect(pulled).toMatchObject({ kind: "folder", commit, path: path.join(folder, "snapshots", commit) });
  expect(filesBelow(pulled.path)).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
  for (const file of filesBelow(pulled.path)) expect(fs.readFileSync(path.join(pulled.path, file))).toEqual(files.get(file));
  const weights = files.get("model.safetensors") as Buffer;
  expect(fs.readlinkSync(path.join(pulled.path, "model.safetensors"))).toBe(`../../blobs/${sha256(weights)}`);
  expect(fs.readlinkSync(path.join(pulled.path, "config.json"))).toBe(`../../blobs/${gitHash(files.get("config.json") as Buffer)}`);
  expect(fs.readFileSync(path.join(folder, "refs", "main"), "utf8")).toBe(commit);
  expectTidy(place.cache, "org/tiny");
  const total = pulled.files.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(seen.at(-1)).toEqual({ file: "model.safetensors", bytes: total, total, fetched: total });
  expect(seen.map(({ bytes }) => bytes)).toEqual(seen.map(({ bytes }) => bytes).sort((a, b) => a - b));
});

test("a second pull fetches nothing; a model that is there is found without asking", async () => {
  place.server.add("org/tiny", tinyModel());
  await pullModel(place.settings, name);
  place.server.requests.length = 0;
  const again = await pullModel(place.settings, name);
  expect(again.files.map(({ fetched }) => fetched)).toEqual([false, false, false]);
  expect(place.server.requests.map((request) => request.path)).toEqual([
    "/api/models/org/tiny/revision/main",
    `/api/models/org/tiny/tree/${again.commit}`,
  ]);
  place.server.requests.length = 0;
  expect(await findOrPull({ ...place.settings, offline: true }, name)).toBe(again.path);
  expect(await findOrPull(place.settings, name)).toBe(again.path);
  expect(place.server.requests).toEqual([]);
});

test("when the branch moves, unchanged files are shared and the old snapshot stays", async () => {
  const before = place.server.add("org/tiny", tinyModel(1));
  await pullModel(place.settings, name);
  const after = place.server.add("org/tiny", { ...tinyModel(2), "tokenizer.json": "{}" }, "b".repeat(40));
  expect((await pullModel(place.settings, name)).files.map(({ path: file, fetched }) => [file, fetched])).toEqual([
    ["config.json", false],
    ["tokenizer.json", false],
    ["model.safetensors", true],
  ]);
  const cached = await findCached(place.settings, name);
  expect(fs.readFileSync(path.join(cached?.path ?? "", "model.safetensors"))).toEqual(after.files.get("model.safetensors"));
  const old = await findCached(place.settings, parseHubName(`hf:org/tiny@${before.commit}`));
  expect(fs.readFileSync(path.join(old?.path ?? "", "model.safetensors"))).toEqual(before.files.get("model.safetensors"));
});

test("shards are those of the index; one that the repository lacks is refused; what the index does not name stays there", async () => {
  const index = (...shards: string[]) => JSON.stringify({ weight_map: Object.fromEntries(shards.map((shard, i) => [`t${i}`, shard])) });
  const shards = { "model-00001-of-00002.safetensors": noise(5000, 5), "model-00002-of-00002.safetensors": noise(5000, 6) };
  const rest = { "config.json": "{}", "consolidated.safetensors": noise(9000, 7), ...shards };
  place.server.add("org/tiny", { ...rest, "model.safetensors.index.json": index(...Object.keys(shards)) });
  const pulled = await pullModel(place.settings, name);
  expect(filesBelow(pulled.path)).toEqual(["config.json", ...Object.keys(shards), "model.safetensors.index.json"]);
  for (const bad of ["../../secret.safetensors", "/etc/passwd", "model-00003-of-00002.safetensors", "a/../../b", "%2e%2e/x.safetensors"]) {
    place.server.add("org/other", { ...rest, "model.safetensors.index.json": index(bad) });
    await expect(pullModel(place.settings, parseHubName("hf:org/other"))).rejects.toThrow(/shard|no file/);
    expect(await findCached(place.settings, parseHubName("hf:org/other"))).toBeUndefined();
  }
});

test("a GGUF by quantisation, by name, split; Q4_K_M when nothing is said; else a list to choose from", async () => {
  const files = {
    "tiny-Q4_K_M.gguf": noise(3000, 1),
    "tiny-UD-Q4_K_M.gguf": noise(3000, 2),
    "mmproj-tiny-Q8_0.gguf": noise(3000, 3),
    "big/tiny-Q8_0-00001-of-00002.gguf": noise(3000, 4),
    "big/tiny-Q8_0-00002-of-00002.gguf": noise(3000, 5),
  };
  place.server.add("org/tiny", files);
  const pull = async (text: string) =>
    path
      .relative(place.cache, (await pullModel(place.settings, parseHubName(text))).path)
      .split("/")
      .slice(3)
      .join("/");
  expect(await pull("hf:org/tiny")).toBe("tiny-Q4_K_M.gguf");
  expect(await pull("hf:org/tiny:q8_0")).toBe("big/tiny-Q8_0-00001-of-00002.gguf");
  expect(await pull("https://huggingface.co/org/tiny:tiny-UD-Q4_K_M.gguf")).toBe("tiny-UD-Q4_K_M.gguf");
  const snapshot = path.join(place.cache, "models--org--tiny", "snapshots", place.server.repositories.get("org/tiny")?.commit ?? "");
  expect(fs.readFileSync(path.join(snapshot, "big/tiny-Q8_0-00002-of-00002.gguf"))).toEqual(files["big/tiny-Q8_0-00002-of-00002.gguf"]);
  await expect(pull("hf:org/tiny:Q2_K")).rejects.toThrow(/no match among big\/tiny-Q8_0-00001-of-00002.gguf, tiny-Q4_K_M.gguf/);
  place.server.add("org/none", { "a-Q8_0.gguf": "a", "b-Q6_K.gguf": "b" });
  await expect(pull("hf:org/none")).rejects.toThrow(/no match among a-Q8_0.gguf, b-Q6_K.gguf; .*name the file: hf:org\/none:a-Q8_0.gguf/);
  place.server.add("org/half", { "a-Q8_0-00001-of-00003.gguf": "a", "a-Q8_0-00002-of-00003.gguf": "b" });
  await expect(pull("hf:org/half:Q8_0")).rejects.toThrow(/no a-Q8_0-00003-of-00003.gguf/);
});

test("pickles are never fetched", async () => {
  place.server.add("org/tiny", { "config.json": "{}", "pytorch_model.bin": "x" });
  await expect(pullModel(place.settings, name)).rejects.toThrow(/pickles/);
  expect(filesBelow(place.cache)).toEqual([]);
});

test("a branch with slashes is one segment of the URL; a revision that is not there is told", async () => {
  place.server.add("org/tiny", tinyModel());
  const pulled = await pullModel(place.settings, parseHubName("hf:org/tiny@refs/pr/1"));
  expect(place.server.requests[0]?.raw).toMatch(/^\/api\/models\/org\/tiny\/revision\/refs%2Fpr%2F1\?/);
  expect(fs.readFileSync(path.join(place.cache, "models--org--tiny", "refs", "refs", "pr", "1"), "utf8")).toBe(pulled.commit);
  expect((await findCached(place.settings, parseHubName("hf:org/tiny@refs/pr/1")))?.path).toBe(pulled.path);
  await expect(pullModel(place.settings, parseHubName("hf:org/tiny@v9"))).rejects.toThrow(/404 \(RevisionNotFound\).*; look at http/);
});

test("a list of several pages is read to its end", async () => {
  place.server.pageSize = 2;
  place.server.add("org/tiny", tinyModel());
  expect((await pullModel(place.settings, name)).files).toHaveLength(3);
});

test("offline: what is there opens, what is not is told, and nobody is asked", async () => {
  place.server.add("org/tiny", tinyModel());
  const settings = { ...place.settings, offline: true };
  await expect(findOrPull(settings, name)).rejects.toThrow(/no such model in the cache, and HF_HUB_OFFLINE is set/);
  await expect(pullModel(settings, name)).rejects.toThrow(ConfigError);
  expect(place.server.requests).toEqual([]);
});

test("what is half there is no model, and the list of the cache says so", async () => {
  place.server.add("org/tiny", tinyModel());
  const pulled = await pullModel(place.settings, name);
  place.server.add("org/gguf", { "a-Q8_0.gguf": noise(3000) });
  await pullModel(place.settings, parseHubName("hf:org/gguf"));
  fs.writeFileSync(path.join(place.cache, "models--org--gguf", "blobs", `${"c".repeat(64)}.incomplete`), "12345");
  expect(
    (await listCached(place.settings)).map(({ name: listed, kind, bytes }) => [listed.repository, listed.selector, kind, bytes]),
  ).toEqual([
    ["org/gguf", "a-Q8_0.gguf", "gguf", 3000],
    ["org/gguf", undefined, "partial", 5],
    ["org/tiny", undefined, "safetensors", pulled.files.reduce((sum, { bytes }) => sum + bytes, 0)],
  ]);
  fs.rmSync(path.join(pulled.path, "model.safetensors"));
  expect(await findCached(place.settings, name)).toBeUndefined();
  expect((await listCached(place.settings)).map(({ kind }) => kind)).toEqual(["gguf", "partial", "partial"]);
  expect(await findOrPull(place.settings, name)).toBe(pulled.path);
});

test("a disk without room is told before the first byte", async () => {
  place.server.add("org/tiny", tinyModel());
  place.server.tamper = (entries) =>
    entries.map((entry) => (entry.lfs ? { ...entry, lfs: { oid: "a".repeat(64), size: 2 ** 52 } } : entry));
  await expect(pullModel(place.settings, name)).rejects.toThrow(DeviceError);
  await expect(pullModel(place.settings, name)).rejects.toThrow(/bytes free in .*; expected room for 45035996\d+; make space/);
  expect(place.server.asked("store", "model.safetensors")).toEqual([]);
});

test("what was pulled opens as a model folder", async () => {
  const fixture = path.join(import.meta.dirname, "../fixtures/models/llama-gqa");
  place.server.add(
    "org/llama",
    Object.fromEntries(fs.readdirSync(fixture).map((file) => [file, fs.readFileSync(path.join(fixture, file))])),
  );
  const { path: folder } = await pullModel(place.settings, parseHubName("hf:org/llama"));
  const opened = await openHfFolder(nodeFiles, folder);
  expect(opened.tensors.size).toBeGreaterThan(5);
  await opened.close();
});
