// Models in the origin's private file system (OPFS): one folder each under "gradually", with the files as they came and a manifest that says where they
// came from, how large they must become, and whether all are there. Works in pages and workers; writing goes through sync access handles, which only
// workers have (partial-file.ts). Web locks guard against two tabs: exclusive while files are written, shared while they are read. A browser may have no such
// file system, or none in a private window; a worker can then hold files in memory, under the same calls (useMemory).

import { ConfigError, quote } from "../../core/errors.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { MemoryFolder } from "./memory-folder.ts";

export type StoredModel = {
  readonly name: string;
  /** A URL, hf:org/name, or disk:… for what came from the user's disk. */
  readonly source: string;
  /** On the disk now. */
  readonly bytes: number;
  /** False for a download that was broken off; `load` with its source or name goes on with it. */
  readonly isComplete: boolean;
};

/** `tag`: what the server said to tell versions apart (ETag or Last-Modified). */
export type StoredFile = { readonly path: string; readonly size: number; readonly tag?: string };

export type Manifest = {
  readonly name: string;
  readonly source: string;
  readonly files: readonly StoredFile[];
  readonly isComplete: boolean;
};

export type StoreFolder = FileSystemDirectoryHandle | MemoryFolder;

export type StoreEntry = { readonly folder: StoreFolder; readonly manifest: Manifest };

const rootName = "gradually";
const manifestName = "manifest.json";
const namePattern = /^(?:hf:[\w./@:+-]{1,300}|[^/\\\p{Cc}]{1,120})$/u;

/** In place of the private file system, from useMemory on. */
let memory: MemoryFolder | undefined;

/** Undefined where nothing was ever stored, unless `create`. Throws ConfigError where the browser has no such file system and nobody called useMemory. */
async function openRoot(create: boolean): Promise<StoreFolder | undefined> {
  const origin = memory ?? (await privateFiles());
  if (!origin) {
    throw new ConfigError({
      operation: "open the store of models",
      got: "a page without a private file system",
      expected: "one served over https or from localhost, in a browser that has it, outside private windows",
      cure: "serve the page so, or load without keep: true",
    });
  }
  return await origin.getDirectoryHandle(rootName, { create }).catch((thrown) => {
    if (isMissing(thrown)) return undefined;
    throw thrown;
  });
}

/** Undefined where the browser has none, or refuses it: Firefox does in private windows, Chromium where cookies are blocked. */
async function privateFiles(): Promise<FileSystemDirectoryHandle | undefined> {
  if (typeof navigator.storage?.getDirectory !== "function" || navigator.locks === undefined) return undefined;
  try {
    return await navigator.storage.getDirectory();
  } catch (thrown) {
    if (thrown instanceof DOMException) return undefined;
    throw thrown;
  }
}

export async function hasStore(): Promise<boolean> {
  return memory === undefined && (await privateFiles()) !== undefined;
}

/** From now on this worker holds in memory what it would store. */
export function useMemory(): void {
  memory ??= new MemoryFolder();
}

export function isMissing(thrown: unknown): boolean {
  return thrown instanceof DOMException && (thrown.name === "NotFoundError" || thrown.name === "TypeMismatchError");
}

/** Of a model's folder. Percent-encoded, so that no name leads out of the root; "." and ".." are no names. */
function folderName(name: string): string {
  return encodeURIComponent(name).replaceAll(".", "%2E");
}

export function checkName(name: string): void {
  if (namePattern.test(name) && !name.toLowerCase().endsWith(".gguf")) return;
  throw new ConfigError({
    operation: "name a stored model",
    got: quote(name),
    expected: "1 to 120 characters without slashes, not ending in .gguf",
    cure: "choose another name",
  });
}

export async function listStored(): Promise<StoredModel[]> {
  const models: StoredModel[] = [];
  for (const { folder, manifest } of await readEntries()) {
    let bytes = 0;
    for await (const [path, handle] of folder.entries()) {
      if (handle.kind === "file" && path !== manifestName) bytes += (await (handle as FileSystemFileHandle).getFile()).size;
    }
    models.push({ name: manifest.name, source: manifest.source, bytes, isComplete: manifest.isComplete });
  }
  return models.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function readEntries(): Promise<StoreEntry[]> {
  const root = await openRoot(false);
  const entries: StoreEntry[] = [];
  if (!root) return entries;
  for await (const [name, folder] of root.entries()) {
    if (folder.kind !== "directory") continue;
    entries.push(await readEntry(folder as StoreFolder, decodeURIComponent(name)));
  }
  return entries;
}

/** A manifest that cannot be read (the tab died while it was written) counts as that of a broken-off download. */
async function readEntry(folder: StoreFolder, name: string): Promise<StoreEntry> {
  const broken = { name, source: "", files: [], isComplete: false };
  try {
    const text = await (await (await folder.getFileHandle(manifestName)).getFile()).text();
    const value = parseJson(text, { source: manifestName });
    if (!isJsonObject(value) || typeof value.source !== "string" || !Array.isArray(value.files)) return { folder, manifest: broken };
    const files: StoredFile[] = [];
    for (const file of value.files) {
      if (!isJsonObject(file) || typeof file.path !== "string" || typeof file.size !== "number") return { folder, manifest: broken };
      files.push({ path: file.path, size: file.size, ...(typeof file.tag === "string" && { tag: file.tag }) });
    }
    return { folder, manifest: { name, source: value.source, files, isComplete: value.isComplete === true } };
  } catch {
    return { folder, manifest: broken };
  }
}

/** By source, else by name. */
export async function findStored(wanted: { readonly source?: string; readonly name?: string }): Promise<StoreEntry | undefined> {
  const entries = await readEntries();
  const bySource = wanted.source !== undefined ? entries.find(({ manifest }) => manifest.source === wanted.source) : undefined;
  return bySource ?? (wanted.name !== undefined ? entries.find(({ manifest }) => manifest.name === wanted.name) : undefined);
}

/**
 * The entry of this source, made when there is none. A `name` that the caller insists on takes the place of another model of that name only when it is that
 * of the same source (else ConfigError); a proposed one gets a number when it is taken.
 */
export async function findOrMake(source: string, proposed: string, insisted: string | undefined): Promise<StoreEntry> {
  if (insisted !== undefined) checkName(insisted);
  return await locked("gradually: names", {}, async () => {
    const entries = await readEntries();
    const found = entries.find(({ manifest }) => manifest.source === source);
    if (found && (insisted === undefined || insisted === found.manifest.name)) return found;
    const names = new Map(entries.map(({ manifest }) => [manifest.name, manifest]));
    let name = insisted ?? proposed;
    for (let i = 2; insisted === undefined && names.get(name) && names.get(name)?.source !== ""; i++) name = `${proposed} (${i})`;
    const holder = names.get(name);
    if (holder && holder.source !== "" && holder.source !== source) {
      throw new ConfigError({
        operation: `store a model as ${quote(name)}`,
        got: `a model of that name from ${quote(holder.source, 200)}`,
        expected: "a name that is free",
        cure: "choose another, or delete that model first",
      });
    }
    const root = (await openRoot(true)) as StoreFolder;
    const folder = await root.getDirectoryHandle(folderName(name), { create: true });
    const manifest = { name, source, files: [], isComplete: false };
    await writeManifest(folder, manifest);
    return { folder, manifest };
  });
}

/** In workers only. */
export async function writeManifest(folder: StoreFolder, { source, files, isComplete }: Manifest): Promise<void> {
  const file = await folder.getFileHandle(manifestName, { create: true });
  const handle = await file.createSyncAccessHandle();
  try {
    const bytes = new TextEncoder().encode(JSON.stringify({ source, files, isComplete }));
    handle.truncate(0);
    handle.write(bytes, { at: 0 });
    handle.flush();
  } finally {
    handle.close();
  }
}

export async function forget(name: string): Promise<boolean> {
  const root = await openRoot(false);
  if (!root) return false;
  return await locked(lockOf(name), { ifAvailable: true }, async (lock) => {
    if (!lock) throw inUse(name);
    try {
      await root.removeEntry(folderName(name), { recursive: true });
      return true;
    } catch (thrown) {
      if (isMissing(thrown)) return false;
      if (thrown instanceof DOMException && thrown.name === "NoModificationAllowedError") throw inUse(name);
      throw thrown;
    }
  });
}

function inUse(name: string): ConfigError {
  return new ConfigError({
    operation: `delete the stored model ${quote(name)}`,
    got: "a model that a page is fetching or loading",
    expected: "one at rest",
    cure: "wait, or close that page",
  });
}

function lockOf(name: string): string {
  return `gradually model: ${name}`;
}

/** Runs `work` when no other tab writes (shared) or touches (exclusive) the model. */
export async function withModel<T>(name: string, mode: "shared" | "exclusive", signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return await locked(lockOf(name), { mode, signal }, work);
}

/** Memory is this worker's own, and pages without a private file system may have no locks. */
async function locked<T>(name: string, options: LockOptions, work: (lock: unknown) => Promise<T>): Promise<T> {
  if (memory) return await work(memory);
  return (await navigator.locks.request(name, options, work)) as T;
}
