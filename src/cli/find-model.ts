// What the word MODEL means, with models of the Hub fetched when they are not there.

import type { Files } from "../core/host.ts";
import { findModelPath } from "../platform/find-model.ts";

/** What MODEL means. Loads the client of the Hub only when needed: it takes longer to load than a small model. */
export function findModel(files: Files, reference: string | undefined): Promise<string> {
  return findModelPath(files, reference, async (name) => await (await import("./hub.ts")).findHubModel(name));
}
