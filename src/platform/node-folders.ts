// Makes a folder and those above it. In: a path. Out: the folder is there. Node's own `recursive` is not used: it never returns where the system says "no such
// file" though the parent exists, as Linux does for a new name under /proc.

import * as fs from "node:fs/promises";
import * as path from "node:path";

/** Throws what node:fs throws: EEXIST where a file is in the way, ENOTDIR where the path leads through one. Several processes may make the same folders at once. */
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

/** Only where nothing lies is the answer no: a path that leads through a file is an error (ENOTDIR). */
async function isFolder(target: string): Promise<boolean> {
  try {
    return (await fs.stat(target)).isDirectory();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw thrown;
  }
}
