// Makes a folder and those above it. In: a path. Out: the folder is there. Node's own `recursive` is not used: it never returns where the system says "no such
// file" though the parent exists, as Linux does for a new name under /proc.

import * as fs from "node:fs/promises";
import * as path from "node:path";

/** Throws what node:fs throws; EEXIST where a file is in the way. Several processes may make the same folders at once. */
export async function makeFolders(folder: string): Promise<void> {
  if (await isFolder(folder)) return;
  const whole = path.resolve(folder);
  const parent = path.dirname(whole);
  if (parent !== whole) await makeFolders(parent);
  try {
    await fs.mkdir(folder);
  } catch (thrown) {
    if (!(await isFolder(folder))) throw thrown;
  }
}

async function isFolder(target: string): Promise<boolean> {
  return (await fs.stat(target).catch(() => undefined))?.isDirectory() ?? false;
}
