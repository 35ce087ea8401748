// Removing what was pulled: all of it, one revision, one GGUF of several; never what another snapshot still needs.

import * as fs from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import { parseHubName } from "../../src/formats/hub-names.ts";
import { findCached, listCached } from "../../src/platform/hub/cache.ts";
import { pullModel } from "../../src/platform/hub/pull.ts";
import { removeCached } from "../../src/platform/hub/remove.ts";
import { lockFile } from "../../src/platform/node-lock.ts";
import { blobsOf, filesBelow, hubPlace, noise, tinyModel } from "./hub-place.ts";

const place = hubPlace();
const pull = (text: string) => pullModel(place.settings, parseHubName(text));
const remove = (text: string) => removeCached(place.settings, parseHubName(text));

test("a whole model, unfinished parts included", async () => {
  place.server.add("org/tiny", tinyModel());
  const { files } = await pull("hf:org/tiny");
  fs.writeFileSync(path.join(blobsOf(place.cache, "org/tiny"), `${"a".repeat(64)}.incomplete`), "12345");
  expect(await remove("hf:org/tiny")).toBe(files.reduce((sum, { bytes }) => sum + bytes, 5));
  expect(filesBelow(place.cache)).toEqual([]);
  expect(await remove("hf:org/tiny")).toBeUndefined();
});

test("one GGUF of two, then the other and with it the folder", async () => {
  place.server.add("org/gguf", {
    "a-Q8_0-00001-of-00002.gguf": noise(3000, 1),
    "a-Q8_0-00002-of-00002.gguf": noise(3000, 2),
    "a-Q4_0.gguf": noise(5000, 3),
  });
  await pull("hf:org/gguf:Q8_0");
  const kept = await pull("hf:org/gguf:Q4_0");
  await expect(remove("hf:org/gguf:Q2_K")).rejects.toThrow(/no match among/);
  expect(await remove("hf:org/gguf:q8_0")).toBe(6000);
  expect(await listCached(place.settings)).toMatchObject([{ kind: "gguf", bytes: 5000, path: kept.path }]);
  expect(await remove("hf:org/gguf:a-Q4_0.gguf")).toBe(5000);
  expect(filesBelow(place.cache)).toEqual([]);
});

test("an old revision goes without what the new one shares with it", async () => {
  const before = place.server.add("org/tiny", tinyModel(1));
  await pull("hf:org/tiny");
  place.server.add("org/tiny", tinyModel(2), "b".repeat(40));
  const after = await pull("hf:org/tiny");
  expect(await remove(`hf:org/tiny@${before.commit}`)).toBe(20_000);
  expect(await findCached(place.settings, parseHubName("hf:org/tiny"))).toMatchObject({ path: after.path });
  expect(filesBelow(after.path)).toHaveLength(3);
  for (const file of filesBelow(after.path)) expect(fs.statSync(path.join(after.path, file)).isFile()).toBe(true);
  expect(await remove(`hf:org/tiny@${before.commit}`)).toBeUndefined();
});

test("nothing goes while somebody fetches", async () => {
  place.server.add("org/tiny", tinyModel());
  await pull("hf:org/tiny");
  const lock = await lockFile(path.join(place.cache, ".locks", "models--org--tiny", `${"a".repeat(64)}.lock`));
  await expect(remove("hf:org/tiny")).rejects.toThrow(new RegExp(`process ${process.pid}, which is fetching it`));
  await lock.release();
  expect(await remove("hf:org/tiny")).toBeGreaterThan(0);
});
