// Makes a folder and those above it. In: a path. Out: the folder is there. Node's own `recursive` is not used: it never returns where the system says "no such
// file" though the parent exists, as Linux does for a new name under /proc.

import * as fs from "node:fs/promises";
import * as path from "node:path";
import { hasCode } from "./node-errors.ts";

/** Throws what node:fs throws; ENOTDIR or EEXIST where a file is in the way. */
export async function makeFolders(folder: string): Promise<void> {
  if (await isFolder(folder)) return;
  try {
    await fs.mkdir(folder);
  } catch (thrown) {
    // Another process may have made it meanwhile.
    if (await isFolder(folder)) return;
    const parent = path.dirname(path.resolve(folder));
    if (!hasCode(thrown, "ENOENT") || (await isFolder(parent)) || parent === path.resolve(folder)) throw thrown;
    await makeFolders(parent);
    await makeFolders(folder);
  }
}

async function isFolder(target: string): Promise<boolean> {
  return (await fs.stat(target).catch(() => undefined))?.isDirectory() ?? false;
}
