// From what the page named to files that can be opened: looks in the store, fetches or copies what is missing there, and holds the lock that keeps other tabs
// from deleting it meanwhile. In: a described source. Out: files, the path to open, and what to do when the weights are in memory.

import { ConfigError, DeviceError, quote } from "../../core/errors.ts";
import type { Files } from "../../core/host.ts";
import { copyModel, fetchModel } from "./fetch-model.ts";
import { blobSource, counted, folderFiles, type Opener, openStored } from "./files.ts";
import type { PlainLoadOptions } from "./options.ts";
import type { Progress } from "./progress.ts";
import { type RemoteModel, remoteOfHub, remoteOfUrl } from "./remote.ts";
import { type DescribedSource, entryOf, type LocalFile } from "./sources.ts";
import { findOrMake, findStored, forget, hasStore, listStored, type Manifest, type StoreEntry, useMemory, withModel } from "./store.ts";

export type FoundFiles = {
  readonly name: string;
  readonly files: Files;
  /** To be opened: the folder, or a .gguf file in it. */
  readonly path: string;
  /** To be called when nothing reads any more; tells whether the store still has it. */
  settle(): Promise<boolean>;
  /** To be called in any case; again does nothing. */
  release(): void;
};

export type Finding = {
  readonly fetching: Progress;
  readonly loading: Progress;
  readonly onWarning: (text: string) => void;
  readonly signal: AbortSignal;
};

export async function findModelFiles(source: DescribedSource, options: PlainLoadOptions, finding: Finding): Promise<FoundFiles> {
  if (source.kind === "files") return await findLocal(source, options, finding);
  const { loading, signal, onWarning } = finding;
  if (source.kind === "stored") {
    const found = await findStored({ name: source.name, source: source.name });
    if (!found || (!found.manifest.isComplete && !isRemote(found.manifest.source))) throw await notStored(source.name);
    if (found.manifest.isComplete) return await openEntry(found, loading, signal, true);
    return await fetched(await remoteOf(found.manifest.source, options, signal), { ...options, name: found.manifest.name }, finding);
  }
  const text = source.kind === "hub" ? source.name : source.url;
  if (!options.keep && !(await hasStore())) {
    useMemory();
    if (options.keep === undefined)
      onWarning("this page has no private file system: the model is not kept, the next visit fetches it again");
    return await fetched(await remoteOf(text, options, signal), { ...options, keep: false }, finding);
  }
  const found = await findStored({ source: text });
  if (found?.manifest.isComplete) return await openEntry(found, loading, signal, options.keep !== false);
  return await fetched(await remoteOf(text, options, signal), options, finding);
}

function isRemote(source: string): boolean {
  return /^(?:hf|https?|blob):/.test(source);
}

async function remoteOf(source: string, options: PlainLoadOptions, signal: AbortSignal): Promise<RemoteModel> {
  return source.startsWith("hf:") ? await remoteOfHub(source, options, signal) : remoteOfUrl(source);
}

async function fetched(remote: RemoteModel, options: PlainLoadOptions, { fetching, loading, signal }: Finding): Promise<FoundFiles> {
  const entry = await findOrMake(remote.source, remote.name, options.name);
  const { name } = entry.manifest;
  const manifest = await withModel(name, "exclusive", signal, async () => {
    // Another tab may have been quicker.
    const now = await findStored({ source: remote.source });
    return now?.manifest.isComplete ? now.manifest : await fetchModel(now ?? entry, remote, fetching, signal);
  });
  return await openEntry({ folder: entry.folder, manifest }, loading, signal, options.keep !== false);
}

/** Takes the shared lock until `release`. */
async function openEntry(entry: StoreEntry, loading: Progress, signal: AbortSignal, keep: boolean): Promise<FoundFiles> {
  const { folder, manifest } = entry;
  const { name } = manifest;
  const release = await holdModel(name, signal);
  const openers = new Map<string, Opener>(
    manifest.files.map(({ path, size }) => [path, async () => counted(await openStored(folder, path, size), loading)]),
  );
  return {
    name,
    files: folderFiles(name, openers),
    path: pathIn(name, manifest),
    release,
    settle: async () => {
      release();
      if (keep) return true;
      await new Promise((resolve) => setTimeout(resolve, 0)); // the lock goes when its holder's promise is seen
      return !(await forget(name).catch(() => false));
    },
  };
}

async function holdModel(name: string, signal: AbortSignal): Promise<() => void> {
  return await new Promise<() => void>((resolve, reject) => {
    withModel(name, "shared", signal, () => new Promise<void>((release) => resolve(release))).catch(reject);
  });
}

function pathIn(name: string, { files }: Manifest): string {
  const entry = entryOf(files.map(({ path }) => path));
  return entry === "" ? name : `${name}/${entry}`;
}

async function findLocal(
  { name, files }: Extract<DescribedSource, { kind: "files" }>,
  options: PlainLoadOptions,
  finding: Finding,
): Promise<FoundFiles> {
  const { loading, fetching, signal, onWarning } = finding;
  if (options.keep === false) return inPlace(name, files, loading);
  if (!(await hasStore())) {
    if (options.keep) await findOrMake("", name, options.name); // says why there is no store
    onWarning("this page has no private file system: the file is read in place and not kept");
    return inPlace(name, files, loading);
  }
  const size = files.reduce((sum, { file }) => sum + file.size, 0);
  const modified = files.reduce((latest, { file }) => Math.max(latest, file.lastModified), 0);
  const source = `disk:${name}?bytes=${size}&modified=${modified}`;
  const entry = await findOrMake(source, name, options.name);
  try {
    const manifest = await withModel(entry.manifest.name, "exclusive", signal, async () => {
      const now = await findStored({ source });
      return now?.manifest.isComplete ? now.manifest : await copyModel(now ?? entry, files, fetching, signal);
    });
    return await openEntry({ folder: entry.folder, manifest }, loading, signal, true);
  } catch (thrown) {
    await forget(entry.manifest.name).catch(() => {}); // half a copy is of no use: the next begins anew
    if (!(thrown instanceof DeviceError) || options.keep) throw thrown;
    onWarning(`read in place and not kept: ${thrown.message}`);
    return inPlace(name, files, loading);
  }
}

function inPlace(name: string, files: readonly LocalFile[], loading: Progress): FoundFiles {
  const openers = new Map<string, Opener>(files.map(({ path, file }) => [path, async () => counted(blobSource(path, file), loading)]));
  const entry = entryOf(files.map(({ path }) => path));
  const path = entry === "" ? name : `${name}/${entry}`;
  return { name, files: folderFiles(name, openers), path, release: () => {}, settle: async () => false };
}

async function notStored(name: string): Promise<ConfigError> {
  const models = await listStored();
  const got = models.length === 0 ? "nothing stored" : `stored models ${models.map((model) => quote(model.name)).join(", ")}`;
  return new ConfigError({
    operation: `load ${quote(name)}`,
    got,
    expected: "the name of a stored model",
    cure: "for a URL write one with a slash (./name) or .gguf at its end; for the Hub hf:org/name",
  });
}
