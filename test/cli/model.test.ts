import { mkdirSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { afterAll, expect, test } from "vitest";
import { findModel } from "../../src/cli/find-model.ts";
import { ConfigError } from "../../src/core/errors.ts";
import { findBundled } from "../../src/platform/find-model.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { fixtures, temporaryFolder } from "./cli.ts";

const shelf = temporaryFolder();
afterAll(() => shelf.remove());

function put(name: string): string {
  const folder = path.join(shelf.path, name);
  mkdirSync(folder);
  writeFileSync(path.join(folder, "config.json"), "{}");
  return folder;
}

test("the bundled model: none, the only one, one of several, the one with the known name", async () => {
  await expect(findBundled(nodeFiles, path.join(shelf.path, "absent"))).rejects.toThrow(/no bundled model .* gradually speedrun/);
  mkdirSync(path.join(shelf.path, "not-a-model"));
  await expect(findBundled(nodeFiles, shelf.path)).rejects.toThrow(ConfigError);
  const only = put("only");
  expect(await findBundled(nodeFiles, shelf.path)).toBe(only);
  put("other");
  await expect(findBundled(nodeFiles, shelf.path)).rejects.toThrow(/only, other/);
  const known = put("countdown-reasoner");
  expect(await findBundled(nodeFiles, shelf.path)).toBe(known);
});

test("a folder is taken as it is; empty words and paths that lead nowhere are refused", async () => {
  const folder = path.join(fixtures, "llama-gqa");
  expect(await findModel(nodeFiles, folder)).toBe(folder);
  await expect(findModel(nodeFiles, "")).rejects.toThrow(ConfigError);
  await expect(findModel(nodeFiles, "../models/../../etc/none")).rejects.toThrow(/no such folder/);
});
