// A server, a cache and settings for tests of the Hub; patience counted in milliseconds.

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { cacheFolderOf } from "../../src/formats/hub-names.ts";
import type { HubSettings } from "../../src/platform/hub/settings.ts";
import { HubServer } from "./hub-server.ts";

export const quick: HubSettings["patience"] = {
  stallMs: 250,
  stallBytes: 4,
  tries: 4,
  progressBytes: 1,
  pauseMs: 1,
  longestPauseMs: 1500,
  lockMs: 2000,
};

export type HubPlace = { readonly server: HubServer; readonly cache: string; readonly settings: HubSettings };

/** One server for a test file, a fresh cache for each test. */
export function hubPlace(): HubPlace {
  let server: HubServer | undefined;
  let cache = "";
  const running = (): HubServer => server as HubServer;
  beforeAll(async () => {
    server = await HubServer.start();
  });
  afterAll(() => server?.stop());
  beforeEach(() => {
    running().reset();
    cache = fs.mkdtempSync(path.join(tmpdir(), "gradually-hub-"));
  });
  afterEach(() => fs.rmSync(cache, { recursive: true, force: true }));
  return {
    get server() {
      return running();
    },
    get cache() {
      return cache;
    },
    get settings() {
      return { endpoint: running().endpoint, cache, offline: false, patience: quick };
    },
  };
}

/** Bytes that depend on a seed, so that two files are never equal. */
export function noise(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function tinyModel(seed = 1): Record<string, Buffer | string> {
  return {
    "README.md": "# nothing",
    ".gitattributes": "x",
    "config.json": '{"model_type":"llama"}',
    "tokenizer.json": "{}",
    "pytorch_model.bin": noise(3000, seed + 1),
    "model.safetensors": noise(20_000, seed),
  };
}

/** Every file below a folder, `/` between names, links followed. */
export function filesBelow(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => !fs.lstatSync(path.join(folder, name)).isDirectory())
    .map((name) => name.replaceAll("\\", "/"))
    .sort();
}

export const blobsOf = (cache: string, repository: string): string => path.join(cache, cacheFolderOf(repository), "blobs");

/** Nothing but whole files under final names, and nothing outside the cache's own folders. */
export function expectTidy(cache: string, repository: string): void {
  const folder = cacheFolderOf(repository);
  for (const file of filesBelow(cache)) expect(file).toMatch(new RegExp(`^(?:${folder}/(?:blobs|refs|snapshots)/|\\.locks/${folder}/)`));
  expect(filesBelow(path.join(cache, ".locks"))).toEqual([]);
}
