// A model into the store, in a worker: from the network, one file after the other, each continued where it was broken off; or from the user's disk. In: an
// entry of the store and where the files are. Out: the complete manifest, or an error after which the next call goes on. Hazards H21 to H30.
// Unusual: a server that does not know ranges sends all again; what is there already is passed over, if the server's tag and size are those
// of before; else the file begins anew.

import { ConfigError, quote } from "../../core/errors.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { checkWeightMap } from "../../formats/hf-folder.ts";
import { indexFile } from "../../formats/hub-files.ts";
import { type Answer, PassingTrouble, request, withRetries } from "./http.ts";
import { PartialFile } from "./partial-file.ts";
import type { Progress } from "./progress.ts";
import { checkRoom } from "./quota.ts";
import type { RemoteFile, RemoteModel } from "./remote.ts";
import type { LocalFile } from "./sources.ts";
import { type Manifest, type StoredFile, type StoreEntry, type StoreFolder, writeManifest } from "./store.ts";

const indexLimit = 100_000_000;
const copyBytes = 2 ** 22;

/** Throws what http.ts throws, DeviceError when the disk or the quota is full, FormatError when sizes are wrong, the signal's reason. */
export async function fetchModel(entry: StoreEntry, remote: RemoteModel, progress: Progress, signal: AbortSignal): Promise<Manifest> {
  return await new Fetch(entry, remote, progress, signal).all();
}

class Fetch {
  readonly #folder: StoreFolder;
  readonly #remote: RemoteModel;
  readonly #progress: Progress;
  readonly #signal: AbortSignal;
  #manifest: Manifest;

  constructor({ folder, manifest }: StoreEntry, remote: RemoteModel, progress: Progress, signal: AbortSignal) {
    this.#folder = folder;
    this.#manifest = manifest;
    this.#remote = remote;
    this.#progress = progress;
    this.#signal = signal;
  }

  async all(): Promise<Manifest> {
    const { files, shard } = this.#remote;
    await this.#checkRoom(files);
    const there = new Set<string>();
    for (const file of files) {
      if (file.instead !== undefined && there.has(file.instead)) continue;
      if (await this.#one(file)) there.add(file.path);
      else if (!file.isOptional) throw absent(file);
    }
    const missing = files.find(({ path, instead }) => instead !== undefined && !there.has(path) && !there.has(instead));
    if (missing) throw absent(missing);
    if (shard && there.has(indexFile)) {
      const shards = (await this.#shards()).map((path) => shard(path) ?? { path, url: "" });
      await this.#checkRoom(shards);
      for (const file of shards) {
        if (file.url === "" || !(await this.#one(file))) throw absent(file);
      }
    }
    await this.#save({ isComplete: true });
    return this.#manifest;
  }

  async #checkRoom(files: readonly RemoteFile[]): Promise<void> {
    let missing = 0;
    for (const { path, size } of files) {
      if (size === undefined) continue;
      this.#progress.expect(path, size);
      missing += Math.max(0, size - (await this.#sizeOf(path)));
    }
    await checkRoom(missing, this.#manifest.name);
  }

  async #sizeOf(path: string): Promise<number> {
    return await this.#folder.getFileHandle(path).then(
      async (handle) => (await handle.getFile()).size,
      () => 0,
    );
  }

  /** False when it is not there. */
  async #one(file: RemoteFile): Promise<boolean> {
    const known = this.#known(file.path);
    if (known && known.size === (await this.#sizeOf(file.path)) && (file.size ?? known.size) === known.size) {
      this.#progress.expect(file.path, known.size);
      this.#progress.reach(file.path, known.size);
      return true;
    }
    const part = { file: undefined as PartialFile | undefined };
    try {
      const operation = `fetch ${quote(file.url, 300)}`;
      return await withRetries(
        operation,
        this.#signal,
        () => this.#attempt(file, part),
        () => part.file?.size ?? 0,
      );
    } finally {
      part.file?.close();
    }
  }

  async #attempt(file: RemoteFile, part: { file: PartialFile | undefined }): Promise<boolean> {
    const from = part.file?.size ?? (await this.#sizeOf(file.path));
    const answer = await request(file.url, from, this.#remote.headers, this.#signal);
    if (answer === "absent") return false;
    try {
      part.file ??= await PartialFile.open(this.#folder, file.path, this.#manifest.name);
      await this.#take(file, answer, part.file);
      return true;
    } finally {
      answer.cancel();
    }
  }

  async #take(file: RemoteFile, answer: Answer, part: PartialFile): Promise<void> {
    const known = this.#known(file.path);
    const size = file.size ?? answer.total;
    if (file.size !== undefined && answer.total !== undefined && answer.total !== file.size && answer.status !== 416)
      throw wrongSize(file, answer.total, file.size);
    if (answer.status === 416) {
      // Nothing is missing, or what we have is not of this file.
      if (part.size > 0 && part.size === (size ?? known?.size)) return await this.#note(file.path, part.size, answer.tag);
      if (part.size === 0) throw absent(file);
      part.clear();
      throw new PassingTrouble("a server that finds our range out of range");
    }
    const isOther =
      (known?.tag !== undefined && answer.tag !== undefined && known.tag !== answer.tag) ||
      (known !== undefined && size !== undefined && known.size !== size);
    if (part.size > 0 && (isOther || !known || answer.from > part.size)) {
      part.clear();
      this.#progress.reach(file.path, 0);
      if (answer.from > 0) throw new PassingTrouble("a file that has changed at the server");
    }
    if (size !== undefined) {
      await this.#note(file.path, size, answer.tag);
      this.#progress.expect(file.path, size);
      await checkRoom(Math.max(0, size - part.size), this.#manifest.name);
    }
    let skip = part.size - answer.from;
    this.#progress.reach(file.path, part.size);
    for await (const chunk of answer.body) {
      const fresh = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - fresh.length;
      const kept = size === undefined ? fresh : fresh.subarray(0, size - part.size);
      if (kept.length > 0) await part.append(kept, size);
      this.#progress.reach(file.path, part.size, chunk.length);
      if (part.size === size) break; // whatever else comes is cut
    }
    this.#signal.throwIfAborted();
    if (size === undefined) await this.#note(file.path, part.size, answer.tag);
    else if (part.size > size) {
      part.clear();
      throw new PassingTrouble(`more than ${size} bytes in the store`);
    } else if (part.size < size) throw new PassingTrouble(`the end of the connection after ${part.size} of ${size} bytes`);
  }

  #known(path: string): StoredFile | undefined {
    return this.#manifest.files.find((file) => file.path === path);
  }

  async #note(path: string, size: number, tag: string | undefined): Promise<void> {
    const known = this.#known(path);
    if (known?.size === size && known.tag === tag) return;
    const others = this.#manifest.files.filter((file) => file.path !== path);
    await this.#save({ files: [...others, { path, size, ...(tag !== undefined && { tag }) }] });
  }

  async #save(change: Partial<Manifest>): Promise<void> {
    this.#manifest = { ...this.#manifest, ...change };
    await writeManifest(this.#folder, this.#manifest);
  }

  async #shards(): Promise<string[]> {
    const file = await (await this.#folder.getFileHandle(indexFile)).getFile();
    if (file.size > indexLimit) throw wrongSize({ path: indexFile, url: "" }, file.size, indexLimit);
    const index = parseJson(await file.text(), { source: indexFile, unsafeIntegers: "round" });
    const map = isJsonObject(index) && isJsonObject(index.weight_map) ? index.weight_map : {};
    const names = new Set(Object.values(map).filter((name) => typeof name === "string"));
    return [...new Set(checkWeightMap({ path: this.#manifest.name, names }, isJsonObject(index) ? index : {}).values())];
  }
}

function absent({ path, url }: RemoteFile): ConfigError {
  const where = url === "" ? "a listing without it" : "nothing there (or a web page in its place)";
  return new ConfigError({
    operation: `fetch ${quote(url || path, 300)}`,
    got: where,
    expected: "the files of a Hugging Face folder, or a .gguf file",
    cure: "check the URL",
  });
}

function wrongSize({ path }: RemoteFile, got: number, expected: number): ConfigError {
  return new ConfigError({
    operation: `fetch ${quote(path)}`,
    got: `a file of ${got} bytes`,
    expected: `${expected}, as listed`,
    cure: "try again later; do not trust this server if it goes on",
  });
}

/** Copies files of the user's disk. A copy that was broken off begins anew. */
export async function copyModel(
  entry: StoreEntry,
  files: readonly LocalFile[],
  progress: Progress,
  signal: AbortSignal,
): Promise<Manifest> {
  const { folder, manifest } = entry;
  for (const { path, file } of files) progress.expect(path, file.size);
  await checkRoom(
    files.reduce((sum, { file }) => sum + file.size, 0),
    manifest.name,
  );
  for (const { path, file } of files) {
    const part = await PartialFile.open(folder, path, manifest.name);
    try {
      part.clear();
      for (let at = 0; at < file.size; at += copyBytes) {
        signal.throwIfAborted();
        await part.append(new Uint8Array(await file.slice(at, at + copyBytes).arrayBuffer()), file.size);
        progress.reach(path, part.size);
      }
      part.check(file.size);
    } finally {
      part.close();
    }
  }
  const complete = { ...manifest, files: files.map(({ path, file }) => ({ path, size: file.size })), isComplete: true };
  await writeManifest(folder, complete);
  return complete;
}
