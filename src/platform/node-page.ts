// The built page as files in memory. In: nothing; it lies in dist/web, beside this package's code or, in a checkout, where `npm run build` puts it. Out:
// its files by name, or undefined where it was not built. Read once, so that no request ever names a file of the disk.

import { readdir, readFile } from "node:fs/promises";
import * as path from "node:path";
import type { PageFiles } from "../server/page.ts";
import { hasCode } from "./node-errors.ts";

/** From dist/platform/ and from src/platform/. */
const places = ["../web", "../../dist/web"].map((place) => path.join(import.meta.dirname, place));

export async function readPage(folders: readonly string[] = places): Promise<PageFiles | undefined> {
  for (const folder of folders) {
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    try {
      for (const name of await readdir(folder, { recursive: true })) {
        const bytes = await readFile(path.join(folder, name)).catch((error: unknown) => {
          if (hasCode(error, "EISDIR")) return undefined;
          throw error;
        });
        if (bytes) files.set(name.replaceAll("\\", "/"), new Uint8Array(bytes));
      }
    } catch (error) {
      if (hasCode(error, "ENOENT")) continue;
      throw error;
    }
    if (files.has("index.html")) return files;
  }
  return undefined;
}
