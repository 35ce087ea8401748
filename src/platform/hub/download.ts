// One file of the Hub into the cache's blobs. In: its URL, size and hash. Out: the file under its final name, right to the last bit, or an error; what has
// come so far waits as `HASH.incomplete` and is continued by a Range request, in this run or the next. Hazards H21 to H30.
// Unusual: the hash is that of what lies on the disk (the part from before is read again), a lock file makes a second process wait and then use
// the first one's file, and the size from the list of files is the limit whatever the server's headers say.

import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import * as path from "node:path";
import { ConfigError, DeviceError, FormatError, quote } from "../../core/errors.ts";
import type { HubName } from "../../formats/hub-names.ts";
import { fileError, hasCode, translated } from "../node-errors.ts";
import { type Lock, tryLockFile } from "../node-lock.ts";
import { syncPath } from "../node-sync.ts";
import { type HubFile, refuseStatus } from "./api.ts";
import { type Answer, get, PassingTrouble, pause } from "./http.ts";
import type { HubSettings } from "./settings.ts";

const chunkBytes = 2 ** 20;

export type Download = {
  readonly name: HubName;
  readonly url: string;
  readonly file: HubFile;
  /** Folders that exist. */
  readonly blobs: string;
  readonly locks: string;
  /** Called with the bytes that are there, of all that will be, and how many of them just came. */
  readonly onBytes: (bytes: number, fresh?: number) => void;
  /** Called once when another process has the file. */
  readonly onWait?: (holder: string) => void;
};

/** False when the blob was there. Throws RequestError, FormatError, ConfigError or DeviceError. */
export async function download(settings: HubSettings, task: Download): Promise<boolean> {
  const target = path.join(task.blobs, task.file.hash);
  if (await isWhole(target, task.file.size, settings.cache)) return false;
  const lock = await waitForLock(settings, task, `${target}.incomplete`);
  try {
    if (await isWhole(target, task.file.size, settings.cache)) return false;
    await fetchBlob(settings, task, target);
    return true;
  } finally {
    await lock.release();
  }
}

/** True for a blob of the right size. A link is taken only when it stays in the cache (a blob shared by several repositories). */
async function isWhole(target: string, size: number, cache: string): Promise<boolean> {
  return await translated("look at", target, async () => {
    try {
      const stat = await fs.stat(target);
      const real = await fs.realpath(target);
      const isInside = real.startsWith((await fs.realpath(cache)) + path.sep);
      return stat.isFile() && stat.size === size && isInside;
    } catch (thrown) {
      if (hasCode(thrown, "ENOENT")) return false;
      throw thrown;
    }
  });
}

/** Waits as long as the holder gets on with it. */
async function waitForLock({ patience }: HubSettings, task: Download, incomplete: string): Promise<Lock> {
  const place = path.join(task.locks, `${task.file.hash}.lock`);
  let [size, deadline] = [-1, Date.now() + patience.lockMs];
  for (let tries = 0; ; tries++) {
    const lock = await tryLockFile(place);
    if (typeof lock !== "string") return lock;
    if (tries === 0) task.onWait?.(lock);
    const now = await fs.stat(incomplete).then(
      (stat) => stat.size,
      () => -1,
    );
    if (now !== size) [size, deadline] = [now, Date.now() + patience.lockMs];
    if (Date.now() > deadline) {
      const operation = `fetch ${quote(task.file.path)}`;
      const got = `process ${lock}, which has had it for long and does not get on`;
      throw new ConfigError({ operation, got, expected: "it to finish", cure: `stop that process, or remove ${quote(place, 300)}` });
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function fetchBlob(settings: HubSettings, task: Download, target: string): Promise<void> {
  const incomplete = `${target}.incomplete`;
  // A link that somebody planted there must not be written through.
  const flags = constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);
  const handle = await translated("open", incomplete, () => fs.open(incomplete, flags, 0o666));
  try {
    const part = new PartialFile(task, handle);
    await part.start();
    const wasThere = part.size > 0;
    const wasContinued = await fill(settings, task, part, true);
    if (!part.isRight() && (wasThere || wasContinued)) {
      // An old or badly continued part may be to blame: once more, in one piece.
      await part.clear();
      await fill(settings, task, part, false);
    }
    if (!part.isRight()) {
      throw new FormatError({
        operation: `fetch ${quote(task.file.path)}`,
        got: `bytes with another hash, left in ${quote(incomplete, 300)}`,
        expected: task.file.hash,
        cure: "try again; if it happens again, do not trust this server",
      });
    }
    await translated("write", incomplete, () => handle.sync());
  } finally {
    await handle.close();
  }
  await translated("rename", target, async () => {
    await fs.rename(incomplete, target);
    await syncPath(task.blobs);
  });
}

/** Requests until all bytes are there. True when one of them continued what another began. */
async function fill(settings: HubSettings, task: Download, part: PartialFile, mayContinue: boolean): Promise<boolean> {
  const operation = `fetch ${quote(task.file.path)}`;
  const { progressBytes } = settings.patience;
  let failures = 0;
  let mark = part.size;
  let wasContinued = false;
  while (part.size < task.file.size) {
    try {
      if (!mayContinue) await part.clear();
      wasContinued ||= part.size > 0;
      await attempt(settings, operation, task, part);
    } catch (thrown) {
      if (!(thrown instanceof PassingTrouble)) throw thrown;
      // Only new bytes count: a server that starts from the beginning each time would otherwise keep us for ever.
      failures = part.size - mark >= progressBytes ? 1 : failures + 1;
      mark = Math.max(mark, part.size);
      await pause(settings.patience, operation, failures, thrown);
    }
  }
  return wasContinued;
}

/** One request for what is missing. Throws PassingTrouble when the connection ends early. */
async function attempt(settings: HubSettings, operation: string, task: Download, part: PartialFile): Promise<void> {
  const from = part.size;
  const answer = await get(settings, operation, task.url, from > 0 ? { range: `bytes=${from}-` } : {});
  try {
    if (answer.status === 416 && from > 0) {
      await part.clear();
      throw new PassingTrouble("a server that finds our range out of range");
    }
    refuseStatus(answer, operation, task.name, settings);
    checkHeaders(answer, operation, task);
    const isRest = answer.status === 206 && from > 0;
    if (!isRightRange(answer, isRest ? from : 0, task.file.size)) {
      if (!isRest) refuseLength(answer, operation, task.file.size);
      await part.clear();
      throw new PassingTrouble(`the range ${quote(String(answer.headers["content-range"]))} instead of ${from} to the end`);
    }
    // All of it instead of the rest: what we have is passed over.
    let skip = isRest ? 0 : from;
    for await (const chunk of answer.body) {
      const fresh = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - fresh.length;
      if (fresh.length > 0) await part.append(fresh);
      if (part.size === task.file.size) return; // whatever else comes is cut
    }
    if (part.size < task.file.size) throw new PassingTrouble(`the end of the connection after ${part.size} of ${task.file.size} bytes`);
  } finally {
    answer.close();
  }
}

/** What the Hub says about the file beside its list. The name in the cache is the listed hash; an etag never becomes one. */
function checkHeaders({ hubHeaders }: Answer, operation: string, { file }: Download): void {
  const cure = "try again later; do not trust this server if it goes on";
  const { "x-linked-etag": etag, "x-linked-size": size } = hubHeaders;
  if (etag !== undefined && !/^(?:W\/)?"?[0-9a-f]{40,64}"?$/.test(String(etag)))
    throw new FormatError({ operation, got: `the etag ${quote(String(etag), 200)}`, expected: "a hash", cure });
  if (size !== undefined && size !== String(file.size))
    throw new FormatError({ operation, got: `a size of ${quote(String(size))}`, expected: `${file.size} bytes, as listed`, cure });
}

function isRightRange({ status, headers }: Answer, from: number, size: number): boolean {
  const length = headers["content-length"];
  if (length !== undefined && length !== String(size - from)) return false;
  return status !== 206 || headers["content-range"] === `bytes ${from}-${size - 1}/${size}`;
}

function refuseLength({ headers }: Answer, operation: string, size: number): never {
  const got = `${quote(String(headers["content-length"]))} bytes`;
  throw new FormatError({
    operation,
    got,
    expected: `${size} bytes, as listed`,
    cure: "try again later; do not trust this server if it goes on",
  });
}

/** The bytes that are there, and their hash. */
class PartialFile {
  readonly #task: Download;
  readonly #handle: fs.FileHandle;
  #hash: Hash;
  #size = 0;

  constructor(task: Download, handle: fs.FileHandle) {
    this.#task = task;
    this.#handle = handle;
    this.#hash = emptyHash(task.file);
  }

  get size(): number {
    return this.#size;
  }

  /** Takes over what an earlier run left. */
  async start(): Promise<void> {
    const { file } = this.#task;
    await translated("read", file.path, async () => {
      const stat = await this.#handle.stat();
      if (!stat.isFile() || stat.size > file.size) return await this.#handle.truncate(0);
      const bytes = Buffer.alloc(Math.min(chunkBytes, stat.size));
      while (this.#size < stat.size) {
        const { bytesRead } = await this.#handle.read(bytes, 0, bytes.length, this.#size);
        if (bytesRead === 0) break;
        this.#hash.update(bytes.subarray(0, bytesRead));
        this.#size += bytesRead;
      }
    });
    this.#task.onBytes(this.#size);
  }

  async append(chunk: Uint8Array): Promise<void> {
    const { file, onBytes } = this.#task;
    const fresh = chunk.subarray(0, Math.min(chunk.length, file.size - this.#size));
    let done = 0;
    try {
      while (done < fresh.length) {
        const { bytesWritten } = await this.#handle.write(fresh, done, fresh.length - done, this.#size + done);
        done += bytesWritten;
      }
    } catch (thrown) {
      if (!hasCode(thrown, "ENOSPC", "EDQUOT", "EFBIG")) throw fileError("write", file.path, thrown);
      throw new DeviceError(
        {
          operation: `fetch ${quote(file.path)}`,
          got: `a full disk after ${this.#size} bytes`,
          expected: `room for ${file.size - this.#size} more in ${quote(this.#task.blobs, 300)}`,
          cure: "make space, or set HF_HUB_CACHE to another disk, and pull again: it goes on from there",
        },
        { cause: thrown },
      );
    }
    this.#hash.update(fresh);
    this.#size += fresh.length;
    onBytes(this.#size, fresh.length);
  }

  isRight(): boolean {
    return this.#size === this.#task.file.size && this.#hash.copy().digest("hex") === this.#task.file.hash;
  }

  async clear(): Promise<void> {
    await translated("write", this.#task.file.path, () => this.#handle.truncate(0));
    this.#hash = emptyHash(this.#task.file);
    this.#size = 0;
    this.#task.onBytes(0);
  }
}

/** Of 64 digits: sha256. Of 40: what git names a blob by, sha1 over a header and the bytes. */
function emptyHash({ hash, size }: HubFile): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}
