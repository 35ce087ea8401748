// A disk that may forget what was not fsynced, as POSIX allows. In: what a program did to files, in order, as `recordingFs` noted it. Out: states that the disk may
// be in when the power fails after any of these operations: data of a file is what its last fsync left, or later writes, or a mixture of both in blocks
// of 4 kB; names in a folder are those of its last fsync and any part of the later changes (a rename within a folder counts as one).

import type * as Fs from "node:fs/promises";
import * as path from "node:path";
import type { Random } from "../../src/core/random.ts";

type Real = typeof Fs;
const block = 4096;
const nothing = new Uint8Array(0);

/** One operation; `data` is all that the file holds after it. */
export type Operation =
  | { readonly kind: "data"; readonly file: number; readonly data: Uint8Array }
  | { readonly kind: "sync"; readonly node: number }
  | { readonly kind: "names"; readonly folder: number; readonly removed?: string; readonly set?: readonly [name: string, node: number] }
  | { readonly kind: "mark"; readonly text: string };

/** Names → node of a folder, or bytes of a file. */
export type Tree = ReadonlyMap<string, Tree | Uint8Array>;

export class DiskRecord {
  readonly operations: Operation[] = [];
  readonly root: string;
  readonly #nodes = new Map<string, number>();
  #count = 1;

  /** `root` exists, empty and durable; it is node 0. */
  constructor(root: string) {
    this.root = root;
    this.#nodes.set(root, 0);
  }

  mark(text: string): void {
    this.operations.push({ kind: "mark", text });
  }

  isInside(target: string): boolean {
    return path.resolve(target).startsWith(this.root + path.sep);
  }

  node(target: string): number | undefined {
    return this.#nodes.get(path.resolve(target));
  }

  created(target: string, kind: "file" | "folder"): number {
    const at = path.resolve(target);
    const node = this.#count++;
    this.#nodes.set(at, node);
    this.operations.push({ kind: "names", folder: this.#folderOf(at), set: [path.basename(at), node] });
    if (kind === "file") this.written(node, nothing);
    return node;
  }

  linked(from: string, to: string): void {
    const node = this.#known(from);
    this.#nodes.set(path.resolve(to), node);
    this.operations.push({ kind: "names", folder: this.#folderOf(to), set: [path.basename(to), node] });
  }

  renamed(from: string, to: string): void {
    const [source, goal] = [path.resolve(from), path.resolve(to)];
    const node = this.#known(source);
    if (path.dirname(source) !== path.dirname(goal)) throw new Error("renames between folders are not modelled");
    for (const [at, inner] of [...this.#nodes]) {
      if (at !== source && !at.startsWith(source + path.sep)) continue;
      this.#nodes.delete(at);
      this.#nodes.set(goal + at.slice(source.length), inner);
    }
    this.operations.push({ kind: "names", folder: this.#folderOf(goal), removed: path.basename(source), set: [path.basename(goal), node] });
  }

  removed(target: string): void {
    const at = path.resolve(target);
    // What is inside goes first, name by name.
    for (const inner of [...this.#nodes.keys()].filter((one) => one.startsWith(at + path.sep)).sort((a, b) => b.length - a.length))
      this.#remove(inner);
    if (this.#nodes.has(at)) this.#remove(at);
  }

  written(file: number, data: Uint8Array): void {
    this.operations.push({ kind: "data", file, data: Uint8Array.from(data) });
  }

  synced(node: number): void {
    this.operations.push({ kind: "sync", node });
  }

  #remove(at: string): void {
    this.operations.push({ kind: "names", folder: this.#folderOf(at), removed: path.basename(at) });
    this.#nodes.delete(at);
  }

  #folderOf(target: string): number {
    return this.#known(path.dirname(path.resolve(target)));
  }

  #known(target: string): number {
    const node = this.#nodes.get(path.resolve(target));
    if (node === undefined) throw new Error(`${target} was made behind the record's back`);
    return node;
  }
}

/** node:fs/promises that notes in `disk()` what happens below its root. */
export function recordingFs(real: Real, disk: () => DiskRecord | undefined): Real {
  const inside = (target: unknown): DiskRecord | undefined => {
    const record = disk();
    return typeof target === "string" && record?.isInside(target) ? record : undefined;
  };
  const open: Real["open"] = async (target, flags, mode) => {
    const handle = await real.open(target, flags, mode);
    const record = inside(target) ?? (disk()?.root === target ? disk() : undefined);
    if (!record) return handle;
    const node = record.node(String(target)) ?? record.created(String(target), "file");
    const note = async () => record.written(node, await real.readFile(String(target)));
    const { write, writeFile, truncate, sync, datasync } = handle;
    handle.write = (async (...options: Parameters<typeof write>) => {
      const done = await write.apply(handle, options);
      await note();
      return done;
    }) as typeof write;
    handle.writeFile = async (...options) => {
      await writeFile.apply(handle, options);
      await note();
    };
    handle.truncate = async (length) => {
      await truncate.call(handle, length);
      await note();
    };
    handle.sync = async () => {
      await sync.call(handle);
      record.synced(node);
    };
    handle.datasync = async () => {
      await datasync.call(handle);
      record.synced(node);
    };
    return handle;
  };
  const writeFile: Real["writeFile"] = async (target, data, options) => {
    await real.writeFile(target, data, options);
    const record = inside(target);
    if (record) record.written(record.node(String(target)) ?? record.created(String(target), "file"), await real.readFile(String(target)));
  };
  const mkdir = (async (folder: string, options?: Parameters<Real["mkdir"]>[1]) => {
    const made = await real.mkdir(folder, options);
    inside(folder)?.created(folder, "folder");
    return made;
  }) as Real["mkdir"];
  const rename: Real["rename"] = async (from, to) => {
    await real.rename(from, to);
    inside(from)?.renamed(String(from), String(to));
  };
  const link: Real["link"] = async (from, to) => {
    await real.link(from, to);
    inside(from)?.linked(String(from), String(to));
  };
  const rm: Real["rm"] = async (target, options) => {
    await real.rm(target, options);
    inside(target)?.removed(String(target));
  };
  return { ...real, open, writeFile, mkdir, rename, link, rm };
}

/** How much of what is not fsynced is left: nothing, everything, or what chance leaves of data and of names. */
export type Fate = "nothing" | "everything" | "data" | "names" | "chance";

/** What the disk may hold when the power fails after the first `count` operations. */
export function afterPowerLoss(operations: readonly Operation[], count: number, fate: Fate, random: Random): Tree {
  const versions = new Map<number, Uint8Array[]>();
  const durableNames = new Map<number, Map<string, number>>([[0, new Map()]]);
  const pendingNames = new Map<number, Extract<Operation, { kind: "names" }>[]>();
  const isFile = new Set<number>();
  const apply = (folder: number, { removed, set }: Extract<Operation, { kind: "names" }>) => {
    const names = durableNames.get(folder) ?? new Map<string, number>();
    durableNames.set(folder, names);
    if (removed !== undefined) names.delete(removed);
    if (set) names.set(...set);
  };
  for (const operation of operations.slice(0, count)) {
    if (operation.kind === "data") {
      isFile.add(operation.file);
      versions.set(operation.file, [...(versions.get(operation.file) ?? []), operation.data]);
    } else if (operation.kind === "names") pendingNames.set(operation.folder, [...(pendingNames.get(operation.folder) ?? []), operation]);
    else if (operation.kind === "sync") {
      const all = versions.get(operation.node);
      if (all) versions.set(operation.node, all.slice(-1));
      for (const change of pendingNames.get(operation.node) ?? []) apply(operation.node, change);
      pendingNames.delete(operation.node);
    }
  }
  const keepsNames = () => (fate === "chance" ? random.integer(2) === 1 : fate === "everything" || fate === "names");
  for (const [folder, changes] of pendingNames) for (const change of changes) if (keepsNames()) apply(folder, change);
  const content = (file: number): Uint8Array => {
    const all = versions.get(file) ?? [nothing];
    if (fate === "nothing" || fate === "names") return all[0] as Uint8Array;
    if (fate !== "chance") return all.at(-1) as Uint8Array;
    const torn = (all[random.integer(all.length)] as Uint8Array).slice();
    for (let at = 0; at < torn.length; at += block) {
      const from = (all[random.integer(all.length)] as Uint8Array).subarray(at, Math.min(at + block, torn.length));
      torn.fill(0, at, Math.min(at + block, torn.length)); // a block that was never written reads as zeros
      torn.set(from, at);
    }
    return torn;
  };
  const build = (folder: number): Tree =>
    new Map([...(durableNames.get(folder) ?? [])].map(([name, node]) => [name, isFile.has(node) ? content(node) : build(node)]));
  return build(0);
}
