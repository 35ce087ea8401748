// The cache that all Hugging Face programs share: `models--org--name/{blobs,refs,snapshots}`, where a snapshot's files are links to blobs. In: settings
// and names. Out: the place of a model that is there, what else is there, and links to new blobs. Nothing here uses the network.
// Unusual: whether a snapshot is whole is found by making the choice that a pull would make, over the files that are there.

import * as fs from "node:fs/promises";
import * as path from "node:path";
import { ConfigError, FormatError, GraduallyError, quote } from "../../core/errors.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { checkWeightMap } from "../../formats/hf-folder.ts";
import { chooseFiles, ggufModels, type HubChoice, hasTokenizer, indexFile } from "../../formats/hub-files.ts";
import { cacheFolderOf, type HubName, isCommit, isRevision, repositoryOf } from "../../formats/hub-names.ts";
import { writeAtomic } from "../node-atomic.ts";
import { hasCode, translated } from "../node-errors.ts";
import { nodeFiles } from "../node-files.ts";
import { makeFolders } from "../node-folders.ts";
import { syncPath } from "../node-sync.ts";
import type { HubSettings } from "./settings.ts";

const indexBytes = 100_000_000;
const entryLimit = 20_000;
let counter = 0;

export type Place = {
  /** A snapshot's folder, or a .gguf file in one. */
  readonly path: string;
  readonly kind: HubChoice["kind"];
  readonly commit: string;
  /** False when no tokenizer is there, which the Hub may have. */
  readonly hasTokenizer: boolean;
};

export function repositoryFolder({ cache }: Pick<HubSettings, "cache">, repository: string): string {
  return path.join(cache, cacheFolderOf(repository));
}

/** The model of that name if all its files are there. Throws for a cache that cannot be read. */
export async function findCached(settings: Pick<HubSettings, "cache">, name: HubName): Promise<Place | undefined> {
  const folder = repositoryFolder(settings, name.repository);
  const commit = isCommit(name.revision) ? name.revision : await readRef(folder, name.revision);
  if (commit === undefined) return undefined;
  const snapshot = path.join(folder, "snapshots", commit);
  const paths = await listSnapshot(snapshot);
  try {
    const choice = chooseFiles(paths, name);
    if (choice.kind === "file") return { kind: "file", path: path.join(snapshot, choice.files[0]), commit, hasTokenizer: true };
    if (choice.sharded) await shardsOf(snapshot, new Set(paths));
    return { kind: "folder", path: snapshot, commit, hasTokenizer: hasTokenizer(paths) };
  } catch (thrown) {
    // Not all of it is there, or an index is broken: a pull will say.
    if (thrown instanceof ConfigError || thrown instanceof FormatError) return undefined;
    throw thrown;
  }
}

/** The shards that a snapshot's index names. Throws FormatError when one is not among `names`. */
export async function shardsOf(snapshot: string, names: ReadonlySet<string>): Promise<string[]> {
  const source = path.join(snapshot, indexFile);
  const index = parseJson(await nodeFiles.readText(source, indexBytes), { source });
  if (!isJsonObject(index))
    throw new FormatError({ operation: `read ${quote(source, 300)}`, got: "no object", expected: "an index", cure: "fetch it again" });
  return [...new Set(checkWeightMap({ path: source, names }, index).values())].sort();
}

async function readRef(folder: string, revision: string): Promise<string | undefined> {
  const place = path.join(folder, "refs", revision);
  return await translated("read", place, async () => {
    try {
      const text = (await fs.readFile(place, "utf8")).trim();
      return isCommit(text) ? text : undefined;
    } catch (thrown) {
      if (hasCode(thrown, "ENOENT", "ENOTDIR", "EISDIR")) return undefined;
      throw thrown;
    }
  });
}

export async function writeRef(folder: string, revision: string, commit: string): Promise<void> {
  if (isCommit(revision) || !isRevision(revision)) return;
  const place = path.join(folder, "refs", revision);
  await nodeFiles.makeFolder(path.dirname(place));
  await writeAtomic(place, commit);
}

/** Paths of the files in a snapshot, `/` between names; links that lead nowhere do not count. */
export async function listSnapshot(snapshot: string): Promise<string[]> {
  const found: string[] = [];
  const walk = async (folder: string, prefix: string, depth: number): Promise<void> => {
    const entries = await fs.readdir(folder).catch((thrown: unknown) => {
      if (hasCode(thrown, "ENOENT", "ENOTDIR")) return [];
      throw thrown;
    });
    for (const entry of entries.sort()) {
      const stat = await fs.stat(path.join(folder, entry)).catch(() => undefined);
      if (found.length >= entryLimit) return;
      if (stat?.isFile()) found.push(prefix + entry);
      else if (stat?.isDirectory() && depth > 1) await walk(path.join(folder, entry), `${prefix}${entry}/`, depth - 1);
    }
  };
  await translated("list", snapshot, () => walk(snapshot, "", 8));
  return found;
}

/** Makes `snapshots/COMMIT/file` lead to a blob; the name appears at once or not at all. */
export async function linkBlob(folder: string, commit: string, file: string, hash: string): Promise<void> {
  const link = path.join(folder, "snapshots", commit, ...file.split("/"));
  const blob = path.join(folder, "blobs", hash);
  const target = path.relative(path.dirname(link), blob);
  await translated("link", link, async () => {
    if ((await fs.readlink(link).catch(() => undefined)) === target) return;
    await makeFolders(path.dirname(link));
    const temporary = `${link}.tmp-${process.pid}-${++counter}`;
    try {
      await fs.symlink(target, temporary).catch(async (thrown: unknown) => {
        // Windows gives links only to some users.
        if (!hasCode(thrown, "EPERM", "ENOSYS", "ENOTSUP")) throw thrown;
        await fs.link(blob, temporary);
      });
      await fs.rename(temporary, link);
      await syncPath(path.dirname(link));
    } finally {
      await fs.rm(temporary, { force: true });
    }
  });
}

export type CachedModel = {
  /** As MODEL is written. */
  readonly name: HubName;
  readonly kind: "safetensors" | "gguf" | "partial";
  readonly path: string;
  readonly bytes: number;
  /** When a file of it was last read, as far as the file system says. */
  readonly lastUsed: Date;
};

/** Every model of the cache, and what is left of unfinished downloads; sorted by name. */
export async function listCached(settings: Pick<HubSettings, "cache">): Promise<CachedModel[]> {
  const found: CachedModel[] = [];
  for (const entry of await nodeFiles.list(settings.cache)) {
    const repository = repositoryOf(entry);
    if (repository === undefined) continue;
    const folder = path.join(settings.cache, entry);
    const before = found.length;
    for (const [revision, commit] of await revisionsOf(folder)) found.push(...(await modelsOf(folder, { repository, revision }, commit)));
    const partial = await measure(
      folder,
      (await nodeFiles.list(path.join(folder, "blobs"))).filter((name) => name.endsWith(".incomplete")).map((name) => `blobs/${name}`),
    );
    if (partial.bytes > 0 || found.length === before)
      found.push({ name: { repository, revision: "main" }, kind: "partial", path: folder, ...partial });
  }
  return found;
}

/** Name to commit: refs first, then snapshots that no ref names. */
export async function revisionsOf(folder: string): Promise<Map<string, string>> {
  const revisions = new Map<string, string>();
  const commits = (await nodeFiles.list(path.join(folder, "snapshots"))).filter(isCommit);
  for (const ref of (await listSnapshot(path.join(folder, "refs"))).filter(isRevision)) {
    const commit = await readRef(folder, ref);
    if (commit !== undefined && commits.includes(commit)) revisions.set(ref, commit);
  }
  const named = new Set(revisions.values());
  for (const commit of commits) if (!named.has(commit)) revisions.set(commit, commit);
  return revisions;
}

async function modelsOf(folder: string, name: HubName, commit: string): Promise<CachedModel[]> {
  const snapshot = path.join(folder, "snapshots", commit);
  const paths = await listSnapshot(snapshot);
  const models: CachedModel[] = [];
  const place = paths.includes("config.json") ? await findCached({ cache: path.dirname(folder) }, name).catch(() => undefined) : undefined;
  if (place?.kind === "folder") {
    const files = paths.filter((file) => !file.endsWith(".gguf"));
    models.push({ name, kind: "safetensors", path: snapshot, ...(await measure(snapshot, files)) });
  }
  for (const file of ggufModels(paths)) {
    const selected = { ...name, selector: file };
    try {
      models.push({
        name: selected,
        kind: "gguf",
        path: path.join(snapshot, file),
        ...(await measure(snapshot, chooseFiles(paths, selected).files)),
      });
    } catch (thrown) {
      if (!(thrown instanceof GraduallyError)) throw thrown; // a part is missing
    }
  }
  return models;
}

async function measure(folder: string, files: readonly string[]): Promise<{ bytes: number; lastUsed: Date }> {
  let [bytes, used] = [0, 0];
  for (const file of files.length > 0 ? files : ["."]) {
    const stat = await fs.stat(path.join(folder, file)).catch(() => undefined);
    if (stat?.isFile()) bytes += stat.size;
    used = Math.max(used, stat?.atimeMs ?? 0);
  }
  return { bytes, lastUsed: new Date(used) };
}
