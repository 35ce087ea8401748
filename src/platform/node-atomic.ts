// Writing so that a crash, a full disk or a power cut leaves the old state or the new one, never a mixture.
// Files: temporary name, write, fsync, rename, fsync of the parent. Folders: the same, every file in them first.
// Unusual: a folder cannot be replaced by one rename, so the old one steps aside as `NAME.old-PID-…` for the time of two
// renames. A crash in between is healed by the next look at that name (`healFolder`, called by node-files.ts).

import * as fs from "node:fs/promises";
import * as path from "node:path";
import { fileError, hasCode } from "./node-errors.ts";
import { makeFolders } from "./node-folders.ts";
import { syncPath } from "./node-sync.ts";

let counter = 0;
const inUse = new Set<string>();

/** `PID-TIME-COUNT`, unlike that of any other process that may write beside this one. */
function freshToken(): string {
  counter += 1;
  const token = `${process.pid}-${Date.now().toString(36)}-${counter}`;
  inUse.add(token);
  return token;
}

/** True when the process that chose this token is gone (or was another one with our number). */
function isAbandoned(token: string): boolean {
  const pid = Number(token.split("-")[0]);
  if (pid === process.pid) return !inUse.has(token);
  try {
    process.kill(pid, 0);
    return false;
  } catch (thrown) {
    return !hasCode(thrown, "EPERM");
  }
}

export async function writeAtomic(target: string, data: Uint8Array | string | AsyncIterable<Uint8Array>): Promise<void> {
  const token = freshToken();
  const temporary = `${target}.tmp-${token}`;
  try {
    await sweep(path.dirname(path.resolve(target)), path.basename(target));
    const handle = await fs.open(temporary, "wx");
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, target);
    await syncPath(path.dirname(target));
  } catch (thrown) {
    await fs.rm(temporary, { force: true }).catch(() => {});
    throw fileError("write", target, thrown);
  } finally {
    inUse.delete(token);
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    const inner = path.join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(inner);
    else if (entry.isFile()) await syncPath(inner);
  }
  await syncPath(folder);
}

export async function writeFolderAtomic(target: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const parent = path.dirname(path.resolve(target));
  const token = freshToken();
  const temporary = `${target}.tmp-${token}`;
  const aside = `${target}.old-${token}`;
  try {
    await makeFolders(parent);
    await sweep(parent, path.basename(target));
    await fs.mkdir(temporary);
    await fill(temporary);
    await syncTree(temporary);
    await replace(temporary, target, aside);
    await syncPath(parent);
  } catch (thrown) {
    await fs.rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw fileError("write folder", target, thrown);
  } finally {
    inUse.delete(token);
  }
  // The new folder is in place; failing to remove the old one is no failure of the write (the next sweep tries again).
  await fs.rm(aside, { recursive: true, force: true }).catch(() => {});
}

async function replace(temporary: string, target: string, aside: string): Promise<void> {
  let moved = false;
  try {
    await fs.rename(target, aside);
    moved = true;
  } catch (thrown) {
    if (!hasCode(thrown, "ENOENT")) throw thrown;
  }
  try {
    await fs.rename(temporary, target);
  } catch (thrown) {
    if (moved) await fs.rename(aside, target).catch(() => {});
    throw thrown;
  }
}

/** Removes a file, a link or a folder. A folder takes a temporary name first: after a crash it is whole or gone, never half of itself. */
export async function removeWhole(target: string): Promise<void> {
  const token = freshToken();
  const aside = `${target}.tmp-${token}`;
  try {
    if (!(await fs.lstat(target)).isDirectory()) await fs.rm(target, { force: true });
    else {
      await fs.rename(target, aside);
      await fs.rm(aside, { recursive: true, force: true });
    }
  } catch (thrown) {
    if (!hasCode(thrown, "ENOENT")) throw fileError("remove", target, thrown);
  } finally {
    inUse.delete(token);
  }
}

const leftover = /^(.+)\.(old|tmp)-(\d+-[0-9a-z]+-\d+)$/;

/** Brings back folders that stepped aside in a process that died before its second rename. Returns the names as they are then. */
export async function healFolder(parent: string, names: readonly string[]): Promise<string[]> {
  const present = new Set(names);
  for (const name of names) {
    const [, base, kind, token] = leftover.exec(name) ?? [];
    if (!base || !token || kind !== "old" || present.has(base) || !isAbandoned(token)) continue;
    try {
      await fs.rename(path.join(parent, name), path.join(parent, base));
      present.delete(name);
      present.add(base);
    } catch {
      // A read-only place: what is there stays visible under its own name.
    }
  }
  return [...present].sort();
}

/** Removes what dead processes left beside `base`; called before a new write of the same name. */
async function sweep(parent: string, base: string): Promise<void> {
  for (const name of await healFolder(parent, await fs.readdir(parent))) {
    const [, owner, , token] = leftover.exec(name) ?? [];
    if (owner === base && token && isAbandoned(token)) await fs.rm(path.join(parent, name), { recursive: true, force: true });
  }
}
