// A model of the Hub on this disk. In: settings and a name. Out: the folder or .gguf file, fetched where it was not there. Small files come
// first and weights last, each appears under its name only when its hash is right, and the branch moves to the new commit when all are there:
// a pull that is cut off at any point leaves the old model or none, and the next continues.

import * as fs from "node:fs/promises";
import * as path from "node:path";
import { ConfigError, DeviceError, quote } from "../../core/errors.ts";
import { chooseFiles } from "../../formats/hub-files.ts";
import { fileUrl, type HubName, showHubName } from "../../formats/hub-names.ts";
import { translated } from "../node-errors.ts";
import { nodeFiles } from "../node-files.ts";
import { type HubFile, type Revision, readRevision } from "./api.ts";
import { findCached, linkBlob, repositoryFolder, shardsOf, writeRef } from "./cache.ts";
import { download } from "./download.ts";
import type { HubSettings } from "./settings.ts";

export type PullProgress = {
  /** The file that is being fetched. */
  readonly file: string;
  /** Bytes there and to be there, of all files known so far. */
  readonly bytes: number;
  readonly total: number;
  /** Bytes that came over the network in this pull. */
  readonly fetched: number;
};

export type PullReport = {
  onProgress?(progress: PullProgress): void;
  /** Another process fetches this file. */
  onWait?(file: string, process: string): void;
};

export type Pulled = {
  readonly name: HubName;
  readonly commit: string;
  readonly kind: "folder" | "file";
  /** A snapshot's folder, or the (first) .gguf file. */
  readonly path: string;
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly fetched: boolean }[];
};

/** Asks the Hub and fetches what is missing. Throws ConfigError, RequestError, FormatError or DeviceError. */
export async function pullModel(settings: HubSettings, name: HubName, report: PullReport = {}): Promise<Pulled> {
  if (settings.offline) throw offline(name, "pull");
  const revision = await readRevision(settings, name);
  const choice = chooseFiles([...revision.files.keys()], name);
  const pull = new Pull(settings, name, revision, report);
  await pull.fetch(choice.files);
  if (choice.kind === "folder" && choice.sharded) await pull.fetch(await shardsOf(pull.snapshot, new Set(revision.files.keys())));
  await writeRef(pull.folder, name.revision, revision.commit);
  const target = choice.kind === "folder" ? pull.snapshot : path.join(pull.snapshot, choice.files[0]);
  return { name, commit: revision.commit, kind: choice.kind, path: target, files: pull.done };
}

/** The path of a model: from the cache without asking anybody, else from the Hub. */
export async function findOrPull(settings: HubSettings, name: HubName, report: PullReport = {}): Promise<string> {
  const cached = await findCached(settings, name);
  if (cached && (cached.hasTokenizer || settings.offline)) return cached.path;
  if (settings.offline) throw offline(name, "open");
  return (await pullModel(settings, name, report)).path;
}

function offline(name: HubName, action: string): ConfigError {
  return new ConfigError({
    operation: `${action} ${showHubName(name)}`,
    got: action === "open" ? "no such model in the cache, and HF_HUB_OFFLINE is set" : "HF_HUB_OFFLINE",
    expected: action === "open" ? "one that was pulled before" : "a connection",
    cure: "unset HF_HUB_OFFLINE and pull it",
  });
}

class Pull {
  readonly #settings: HubSettings;
  readonly #name: HubName;
  readonly #revision: Revision;
  readonly #report: PullReport;
  readonly #blobs: string;
  readonly #locks: string;
  readonly folder: string;
  readonly snapshot: string;
  readonly done: Pulled["files"][number][] = [];
  #total = 0;
  #fetched = 0;

  constructor(settings: HubSettings, name: HubName, revision: Revision, report: PullReport) {
    this.#settings = settings;
    this.#name = name;
    this.#revision = revision;
    this.#report = report;
    this.folder = repositoryFolder(settings, name.repository);
    this.snapshot = path.join(this.folder, "snapshots", revision.commit);
    this.#blobs = path.join(this.folder, "blobs");
    this.#locks = path.join(settings.cache, ".locks", path.basename(this.folder));
  }

  async fetch(paths: readonly string[]): Promise<void> {
    for (const folder of [this.#blobs, this.#locks, this.snapshot]) await nodeFiles.makeFolder(folder);
    const files = paths.map((file) => this.#revision.files.get(file)).filter((file) => file !== undefined);
    await this.#checkSpace(files);
    let before = this.done.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#total = before + files.reduce((sum, { size }) => sum + size, 0);
    for (const file of files) {
      await this.#fetchFile(file, before);
      before += file.size;
    }
  }

  async #fetchFile(file: HubFile, before: number): Promise<void> {
    const { repository } = this.#name;
    const { commit } = this.#revision;
    const report = (bytes: number, fresh = 0) => {
      this.#fetched += fresh;
      this.#report.onProgress?.({ file: file.path, bytes: before + bytes, total: this.#total, fetched: this.#fetched });
    };
    const fetched = await download(this.#settings, {
      name: this.#name,
      url: fileUrl(this.#settings.endpoint, repository, commit, file.path),
      file,
      blobs: this.#blobs,
      locks: this.#locks,
      onBytes: report,
      onWait: (holder) => this.#report.onWait?.(file.path, holder),
    });
    await linkBlob(this.folder, commit, file.path, file.hash);
    this.done.push({ path: file.path, bytes: file.size, fetched });
    report(file.size);
  }

  /** Throws DeviceError when the disk has no room for what is to come. */
  async #checkSpace(files: readonly HubFile[]): Promise<void> {
    let missing = 0;
    for (const { hash, size } of files) {
      const blob = path.join(this.#blobs, hash);
      const there = await fs.stat(blob).catch(() => fs.stat(`${blob}.incomplete`).catch(() => undefined));
      missing += Math.max(0, size - (there?.size ?? 0));
    }
    if (missing === 0) return;
    const free = await translated("look at", this.#blobs, async () => {
      const { bavail, bsize } = await fs.statfs(this.#blobs);
      return bavail * bsize;
    });
    // Where the system does not tell, it says 0 of everything; then the write will.
    if (missing <= free || free === 0) return;
    throw new DeviceError({
      operation: `pull ${showHubName(this.#name)}`,
      got: `${free} bytes free in ${quote(this.#settings.cache, 300)}`,
      expected: `room for ${missing}`,
      cure: "make space, choose a smaller file, or set HF_HUB_CACHE to another disk",
    });
  }
}
