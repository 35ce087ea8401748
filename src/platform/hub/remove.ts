// Takes a model out of the cache. In: a name. Out: bytes freed, or undefined when nothing of that name is there. A blob goes only when no snapshot links to
// it any more, and nothing goes while another process is fetching into the repository.

import * as fs from "node:fs/promises";
import * as path from "node:path";
import { ConfigError } from "../../core/errors.ts";
import { chooseFiles } from "../../formats/hub-files.ts";
import { type HubName, isCommit, showHubName } from "../../formats/hub-names.ts";
import { removeWhole } from "../node-atomic.ts";
import { translated } from "../node-errors.ts";
import { nodeFiles } from "../node-files.ts";
import { tryLockFile } from "../node-lock.ts";
import { listSnapshot, repositoryFolder, revisionsOf } from "./cache.ts";
import type { HubSettings } from "./settings.ts";

/** `hf:org/name` is all of it; a revision or a file only that. Throws ConfigError while it is being fetched. */
export async function removeCached(settings: Pick<HubSettings, "cache">, name: HubName): Promise<number | undefined> {
  const folder = repositoryFolder(settings, name.repository);
  if (!(await nodeFiles.isFolder(folder))) return undefined;
  await refuseWhileFetching(settings, name, folder);
  const before = await blobBytes(folder);
  if (name.selector === undefined && name.revision === "main") {
    await removeWhole(folder);
    return before;
  }
  const revisions = await revisionsOf(folder);
  const commit = revisions.get(name.revision) ?? (isCommit(name.revision) ? name.revision : undefined);
  if (commit === undefined) return undefined;
  const snapshot = path.join(folder, "snapshots", commit);
  const paths = await listSnapshot(snapshot);
  const doomed = name.selector === undefined ? paths : chosen(paths, name);
  if (doomed.length === 0) return undefined;
  const blobs = new Set(await Promise.all(doomed.map((file) => fs.realpath(path.join(snapshot, file)))));
  for (const file of doomed) await removeWhole(path.join(snapshot, file));
  if (doomed.length === paths.length) {
    await removeWhole(snapshot);
    for (const [ref, other] of revisions) if (other === commit && ref !== commit) await removeWhole(path.join(folder, "refs", ref));
  }
  await removeUnlinked(folder, blobs);
  const after = await blobBytes(folder);
  if ((await nodeFiles.list(path.join(folder, "snapshots"))).length === 0) await removeWhole(folder);
  return before - after;
}

function chosen(paths: readonly string[], name: HubName): readonly string[] {
  try {
    return chooseFiles(paths, name).files;
  } catch (thrown) {
    if (thrown instanceof ConfigError && !paths.some((file) => file.endsWith(".gguf"))) return [];
    throw thrown;
  }
}

async function refuseWhileFetching({ cache }: Pick<HubSettings, "cache">, name: HubName, folder: string): Promise<void> {
  const locks = path.join(cache, ".locks", path.basename(folder));
  for (const file of (await nodeFiles.list(locks)).filter((entry) => entry.endsWith(".lock"))) {
    const lock = await tryLockFile(path.join(locks, file));
    if (typeof lock !== "string") {
      await lock.release();
      continue;
    }
    const operation = `remove ${showHubName(name)}`;
    throw new ConfigError({ operation, got: `process ${lock}, which is fetching it`, expected: "nobody", cure: "wait for it, or stop it" });
  }
}

async function removeUnlinked(folder: string, blobs: Set<string>): Promise<void> {
  const root = (await fs.realpath(path.join(folder, "blobs"))) + path.sep;
  for (const commit of await nodeFiles.list(path.join(folder, "snapshots"))) {
    const snapshot = path.join(folder, "snapshots", commit);
    for (const file of await listSnapshot(snapshot)) blobs.delete(await fs.realpath(path.join(snapshot, file)));
  }
  // A blob outside is one that several repositories share.
  for (const blob of blobs) if (blob.startsWith(root)) await removeWhole(blob);
}

async function blobBytes(folder: string): Promise<number> {
  return await translated("look at", folder, async () => {
    const blobs = path.join(folder, "blobs");
    let bytes = 0;
    for (const name of await nodeFiles.list(blobs)) {
      const stat = await fs.lstat(path.join(blobs, name));
      if (stat.isFile()) bytes += stat.size;
    }
    return bytes;
  });
}
