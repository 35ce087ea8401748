// H30: a disk that fills up at 50 points of a download. The write is cut where the disk ends, as the system does it.

import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { DeviceError } from "../../src/core/errors.ts";
import { parseHubName } from "../../src/formats/hub-names.ts";
import { noise, quick, tinyModel } from "./hub-place.ts";
import { HubServer, sha256 } from "./hub-server.ts";

type Real = typeof import("node:fs/promises");

const disk = vi.hoisted(() => ({ end: Number.POSITIVE_INFINITY, code: "ENOSPC" }));

vi.mock("node:fs/promises", async (importOriginal) => {
  const real = await importOriginal<Real>();
  const open: Real["open"] = async (...options) => {
    const handle = await real.open(...options);
    if (!String(options[0]).endsWith(".incomplete")) return handle;
    const write = handle.write.bind(handle) as (
      bytes: Uint8Array,
      from: number,
      length: number,
      at: number,
    ) => Promise<{ bytesWritten: number; buffer: Uint8Array }>;
    const limited = async (bytes: Uint8Array, from: number, length: number, at: number) => {
      const room = Math.min(length, disk.end - at);
      if (room <= 0) throw Object.assign(new Error(`${disk.code}: injected`), { code: disk.code });
      return await write(bytes, from, room, at);
    };
    return Object.assign(handle, { write: limited });
  };
  return { ...real, open };
});

const fs = await vi.importActual<Real>("node:fs/promises");
const { pullModel } = await import("../../src/platform/hub/pull.ts");
const { findCached } = await import("../../src/platform/hub/cache.ts");

const name = parseHubName("hf:org/tiny");
const bytes = noise(20_000, 1);
let server: HubServer;
let cache = "";

beforeAll(async () => {
  server = await HubServer.start();
});
afterAll(() => server.stop());
beforeEach(async () => {
  cache = await fs.mkdtemp(path.join(tmpdir(), "gradually-disk-"));
  server.add("org/tiny", tinyModel());
});
afterEach(() => fs.rm(cache, { recursive: true, force: true }));

test("H30: each time an error that says so, a part that is right, no model; with room again, the rest is fetched", async () => {
  const settings = { endpoint: server.endpoint, cache, offline: false, patience: quick };
  const part = path.join(cache, "models--org--tiny", "blobs", `${sha256(bytes)}.incomplete`);
  for (let i = 0; i < 50; i++) {
    disk.end = 100 + i * 398;
    disk.code = i % 3 === 0 ? "EDQUOT" : "ENOSPC";
    const thrown = await pullModel(settings, name).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(DeviceError);
    expect(String(thrown)).toMatch(
      /fetch "model.safetensors": got a full disk after \d+ bytes; expected room for \d+ more in .*make space/,
    );
    const there = await fs.readFile(part);
    expect(there.length).toBeLessThanOrEqual(disk.end);
    expect(there.equals(bytes.subarray(0, there.length))).toBe(true);
    expect(await findCached(settings, name)).toBeUndefined();
  }
  disk.end = Number.POSITIVE_INFINITY;
  server.requests.length = 0;
  const pulled = await pullModel(settings, name);
  expect((await fs.readFile(path.join(pulled.path, "model.safetensors"))).equals(bytes)).toBe(true);
});
