// fsync by name, for files and folders: what a folder's fsync makes durable is the names in it.

import * as fs from "node:fs/promises";
import { hasCode } from "./node-errors.ts";

export async function syncPath(target: string): Promise<void> {
  const handle = await fs.open(target, "r");
  try {
    await handle.sync();
  } catch (thrown) {
    // Some file systems cannot fsync a folder; the rename itself is still atomic there.
    if (!hasCode(thrown, "EINVAL", "EISDIR", "EPERM", "ENOTSUP")) throw thrown;
  } finally {
    await handle.close();
  }
}
