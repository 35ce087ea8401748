// Atomic writes with a failure injected at every single file operation in turn: the old state or the new one is there,
// never a mixture and never a leftover; and what a killed process leaves behind is healed.

import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { DeviceError } from "../../src/core/errors.ts";

type Real = typeof import("node:fs/promises");

const fault = vi.hoisted(() => ({ left: Number.POSITIVE_INFINITY, code: "ENOSPC", log: [] as string[] }));

function step(name: string): void {
  fault.log.push(name);
  if (fault.left-- === 0) throw Object.assign(new Error(`${fault.code}: injected`), { code: fault.code });
}

vi.mock("node:fs/promises", async (importOriginal) => {
  const real = await importOriginal<Real>();
  const open: Real["open"] = async (...options) => {
    step("open");
    const handle = await real.open(...options);
    const { writeFile, sync } = handle;
    handle.writeFile = async (data, ...rest) => {
      if (fault.left === 0) await writeFile.call(handle, typeof data === "string" ? data.slice(0, 1) : "", ...rest);
      step("write");
      await writeFile.call(handle, data, ...rest);
    };
    handle.sync = async () => {
      step("sync");
      await sync.call(handle);
    };
    return handle;
  };
  const rename: Real["rename"] = async (from, to) => {
    step("rename");
    await real.rename(from, to);
  };
  const mkdir = (async (folder, options) => {
    step("mkdir");
    return await real.mkdir(folder, options);
  }) as Real["mkdir"];
  return { ...real, open, rename, mkdir };
});

const fs = await vi.importActual<Real>("node:fs/promises");
const { nodeFiles: files } = await import("../../src/platform/node-files.ts");
let folder = "";

beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(tmpdir(), "gradually-atomic-"));
  fault.left = Number.POSITIVE_INFINITY;
});
afterEach(async () => {
  await fs.rm(folder, { recursive: true, force: true });
});

async function operationsOf(work: () => Promise<unknown>): Promise<string[]> {
  fault.log = [];
  await work();
  return [...fault.log];
}

test("a file is written under another name, fsynced, renamed, and its folder fsynced", async () => {
  const operations = await operationsOf(() => files.writeAtomic(path.join(folder, "a"), "new"));
  expect(operations).toEqual(["open", "write", "sync", "rename", "open", "sync"]);
});

test.each(["ENOSPC", "EACCES", "EROFS", "EIO"])("writeAtomic survives %s at every operation", async (code) => {
  const target = path.join(folder, "a");
  for (let k = 0; k < 6; k++) {
    await fs.writeFile(target, "old");
    fault.code = code;
    fault.left = k;
    await expect(files.writeAtomic(target, "new"), `operation ${k}`).rejects.toThrow(DeviceError);
    fault.left = Number.POSITIVE_INFINITY;
    expect(await fs.readFile(target, "utf8")).toBe(k < 4 ? "old" : "new");
    expect(await fs.readdir(folder)).toEqual(["a"]);
  }
});

async function fill(into: string): Promise<void> {
  await fs.writeFile(path.join(into, "config.json"), "new");
  await fs.mkdir(path.join(into, "inner"));
  await fs.writeFile(path.join(into, "inner", "weights"), "new");
}

async function stateOf(target: string): Promise<string> {
  const config = await fs.readFile(path.join(target, "config.json"), "utf8");
  const weights = await fs.readFile(path.join(target, "inner", "weights"), "utf8");
  return `${config} ${weights}`;
}

test("a folder: every file and every folder is fsynced before the rename", async () => {
  const target = path.join(folder, "model");
  const operations = await operationsOf(() => files.writeFolderAtomic(target, fill));
  // mkdir of the temporary folder (its parent is there); fsync of two files and two folders; rename (aside: nothing there), rename; fsync of the parent.
  const fsync = ["open", "sync"];
  expect(operations).toEqual(["mkdir", ...fsync, ...fsync, ...fsync, ...fsync, "rename", "rename", ...fsync]);
  expect(await stateOf(target)).toBe("new new");
});

test.each([true, false])("writeFolderAtomic survives a fault at every operation (a folder is there before: %s)", async (existing) => {
  const target = path.join(folder, "model");
  const total = (await operationsOf(() => files.writeFolderAtomic(target, fill))).length;
  for (let k = 0; k < total; k++) {
    await fs.rm(target, { recursive: true, force: true });
    if (existing) {
      await fs.mkdir(path.join(target, "inner"), { recursive: true });
      await fs.writeFile(path.join(target, "config.json"), "old");
      await fs.writeFile(path.join(target, "inner", "weights"), "old");
    }
    fault.code = "ENOSPC";
    fault.left = k;
    await expect(files.writeFolderAtomic(target, fill), `operation ${k}`).rejects.toThrow(DeviceError);
    fault.left = Number.POSITIVE_INFINITY;
    const names = (await fs.readdir(folder)).filter((name) => !name.includes(".old-"));
    if (names.length === 0) expect(existing).toBe(false);
    else expect(await stateOf(target)).toMatch(/^(old old|new new)$/);
    expect(names.every((name) => name === "model")).toBe(true);
  }
  // What could not be removed then is removed by the next write.
  await files.writeFolderAtomic(target, fill);
  expect(await fs.readdir(folder)).toEqual(["model"]);
});

test("an error of the caller's fill leaves nothing and passes through", async () => {
  const target = path.join(folder, "model");
  await expect(
    files.writeFolderAtomic(target, async (into) => {
      await fs.writeFile(path.join(into, "half"), "x");
      throw new DeviceError({ operation: "test", got: "a", expected: "b", cure: "c" });
    }),
  ).rejects.toThrow("test: got a; expected b; c");
  expect(await fs.readdir(folder)).toEqual([]);
});

function deadPid(): number {
  return spawnSync(process.execPath, ["-e", ""]).pid;
}

test("a process killed between the two renames of a replacement: the old folder comes back by itself", async () => {
  const pid = deadPid();
  for (const look of [() => files.isFolder(path.join(folder, "model")), async () => (await files.list(folder)).includes("model")]) {
    await fs.rm(path.join(folder, "model"), { recursive: true, force: true });
    await fs.mkdir(path.join(folder, `model.old-${pid}-abc-1`));
    expect(await look()).toBe(true);
    expect(await fs.readdir(folder)).toEqual(["model"]);
  }
});

test("the folder of a process that still lives is left alone", async () => {
  await fs.mkdir(path.join(folder, `model.old-${process.ppid}-abc-1`));
  expect(await files.isFolder(path.join(folder, "model"))).toBe(false);
});

test("a folder that is removed takes another name first: whole or gone", async () => {
  const target = path.join(folder, "a");
  await fs.mkdir(path.join(target, "inner"), { recursive: true });
  await fs.writeFile(path.join(target, "inner", "file"), "x");
  await fs.symlink(target, path.join(folder, "link"));
  fault.code = "EACCES";
  fault.left = 0;
  await expect(files.remove(target)).rejects.toThrow(DeviceError);
  expect(await fs.readFile(path.join(target, "inner", "file"), "utf8")).toBe("x");
  fault.left = Number.POSITIVE_INFINITY;
  expect(await operationsOf(() => files.remove(path.join(folder, "link")))).toEqual([]);
  expect(await fs.readdir(folder)).toEqual(["a"]); // not what the link led to
  expect(await operationsOf(() => files.remove(target))).toEqual(["rename"]);
  await files.remove(target);
  expect(await fs.readdir(folder)).toEqual([]);
});
