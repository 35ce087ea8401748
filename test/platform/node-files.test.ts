// The Node host's files on a real folder: exact reads, limits, appending, and files that change under the reader.

import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError, DeviceError, FormatError } from "../../src/core/errors.ts";
import { nodeHost } from "../../src/platform/node.ts";

const host = nodeHost();
const { files } = host;
let folder = "";

beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(tmpdir(), "gradually-files-"));
});
afterEach(async () => {
  await fs.rm(folder, { recursive: true, force: true });
});

test("host facts", () => {
  expect(host.parallelism).toBeGreaterThanOrEqual(1);
  const before = host.now();
  expect(host.now()).toBeGreaterThanOrEqual(before);
  expect(host.env("PATH")).toBe(process.env.PATH);
  expect(host.env("GRADUALLY_NO_SUCH_NAME")).toBeUndefined();
});

test.each(["relaxed", "simd128"])("wide SIMD stays off under GRADUALLY_WASM=%s", (build) => {
  process.env.GRADUALLY_WASM = build;
  try {
    expect(nodeHost().canFuseSimd).toBe(false);
  } finally {
    delete process.env.GRADUALLY_WASM;
  }
});

test("reads exactly the bytes that were asked for, and no others", async () => {
  const target = files.join(folder, "a.bin");
  await files.writeAtomic(target, Uint8Array.from([1, 2, 3, 4, 5]));
  const source = await files.open(target);
  expect(source.size).toBe(5);
  expect([...(await source.read(1, 3))]).toEqual([2, 3, 4]);
  expect([...(await source.read(5, 0))]).toEqual([]);
  for (const [offset, length] of [
    [3, 3],
    [-1, 2],
    [0.5, 1],
    [0, 2 ** 53],
    [Number.NaN, 1],
  ] as const) {
    await expect(source.read(offset, length)).rejects.toThrow(FormatError);
  }
  await source.close();
});

test("S45: a file that grows, shrinks or is rewritten is refused", async () => {
  const target = files.join(folder, "a.bin");
  for (const change of [() => fs.appendFile(target, "x"), () => fs.truncate(target, 2), () => fs.utimes(target, 1, 1)]) {
    await files.writeAtomic(target, "12345");
    const source = await files.open(target);
    await change();
    await expect(source.read(0, 2)).rejects.toThrow(/changed while it was being read/);
    await source.close();
  }
});

test("an open source keeps reading the old file after an atomic replacement", async () => {
  const target = files.join(folder, "a.bin");
  await files.writeAtomic(target, "old bytes");
  const source = await files.open(target);
  await files.writeAtomic(target, "new");
  expect(new TextDecoder().decode(await source.read(0, 3))).toBe("old");
  expect(await files.readText(target)).toBe("new");
  await source.close();
});

test("limits, folders, pipes, missing files and bad paths are clear errors", async () => {
  const target = files.join(folder, "a.txt");
  await files.writeAtomic(target, "12345");
  await expect(files.read(target, 4)).rejects.toThrow(/got 5 bytes; expected at most 4/);
  await expect(files.read(folder)).rejects.toThrow(ConfigError);
  await expect(files.read("/dev/zero")).rejects.toThrow(/not a regular file/);
  await expect(files.read(files.join(folder, "none"))).rejects.toThrow(ConfigError);
  await expect(files.read("a\0b")).rejects.toThrow(ConfigError);
  await expect(files.list(target)).rejects.toThrow(ConfigError);
  await expect(files.read(files.join(folder, "n".repeat(5000)))).rejects.toThrow(ConfigError);
  await expect(files.writeAtomic(files.join(target, "inner"), "x")).rejects.toThrow(ConfigError);
  await expect(files.writeAtomic("/proc/gradually", "x")).rejects.toThrow(/write "\/proc\/gradually"/);
});

test("text must be UTF-8; a byte order mark is kept", async () => {
  const target = files.join(folder, "a.txt");
  await files.writeAtomic(target, Uint8Array.from([0x61, 0xff]));
  await expect(files.readText(target)).rejects.toThrow(FormatError);
  await files.writeAtomic(target, "\ufeffå");
  expect(await files.readText(target)).toBe("\ufeffå");
});

test("makeFolder refuses what cannot be, and returns", async () => {
  await fs.writeFile(files.join(folder, "file"), "");
  await expect(files.makeFolder(files.join(folder, "file"))).rejects.toThrow(/a file where a folder is named/);
  await expect(files.makeFolder(files.join(folder, "file", "below"))).rejects.toThrow(/a file where a folder is named/);
  // The system answers "no such file" for a new name there, though the parent exists; Node's own recursive mkdir never returns from that.
  if (process.platform === "linux") await expect(files.makeFolder("/proc/gradually/run")).rejects.toThrow(/no such file or folder/);
  await Promise.all([1, 2, 3].map(() => files.makeFolder(files.join(folder, "at", "once"))));
  expect(await files.isFolder(files.join(folder, "at", "once"))).toBe(true);
});

test("list, exists, isFolder, remove, makeFolder", async () => {
  await files.makeFolder(files.join(folder, "b", "c"));
  await files.writeAtomic(files.join(folder, "a"), "");
  expect(await files.list(folder)).toEqual(["a", "b"]);
  expect(await files.list(files.join(folder, "none"))).toEqual([]);
  expect(await files.exists(files.join(folder, "b"))).toBe(true);
  expect(await files.isFolder(files.join(folder, "a"))).toBe(false);
  expect(await files.isFolder(files.join(folder, "b", "c"))).toBe(true);
  await files.remove(files.join(folder, "b"));
  await files.remove(files.join(folder, "none"));
  expect(await files.exists(files.join(folder, "b"))).toBe(false);
  expect(files.baseName("/x/y.txt")).toBe("y.txt");
});

test("appender counts bytes, keeps order without awaiting, truncates on resume", async () => {
  const target = files.join(folder, "metrics.jsonl");
  const first = await files.appender(target);
  await Promise.all(["é\n", "b\n", "c\n"].map((line) => first.append(line)));
  expect(first.position).toBe(7);
  await first.sync();
  await first.close();
  const second = await files.appender(target, 3);
  expect(second.position).toBe(3);
  await second.append("z\n");
  await second.close();
  expect(await files.readText(target)).toBe("é\nz\n");
  await expect(files.appender(target, 100)).rejects.toThrow(FormatError);
  await expect(files.appender(folder)).rejects.toThrow(ConfigError);
});

test("a device that is full gives a DeviceError naming the operation", async () => {
  const full = await files.appender("/dev/full");
  await expect(full.append("x")).rejects.toThrow(DeviceError);
  await expect(full.append("x")).rejects.toThrow(/append to "\/dev\/full": got a full disk \(ENOSPC\)/);
  await full.close();
});
