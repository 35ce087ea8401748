// What the system needs of the place it runs in. platform/node.ts and platform/browser/host.ts implement it.
// Everything below rank 8 receives a Host as an argument and never touches node:* or navigator itself.

/** Random access to one file. `read` returns exactly `length` bytes or throws FormatError. */
export interface FileSource {
  readonly path: string;
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

export interface Files {
  open(path: string): Promise<FileSource>;
  exists(path: string): Promise<boolean>;
  isFolder(path: string): Promise<boolean>;
  /** Names in a folder, sorted; [] when the folder is absent. */
  list(path: string): Promise<string[]>;
  /** Whole file; refuses files above `limit` bytes before reading. */
  read(path: string, limit?: number): Promise<Uint8Array>;
  readText(path: string, limit?: number): Promise<string>;
  /** Writes a temporary name, fsyncs, renames, fsyncs the folder: after a crash the old or the new file is there. Chunks may be streamed. */
  writeAtomic(path: string, data: Uint8Array | string | AsyncIterable<Uint8Array>): Promise<void>;
  /** Opens for appending; every write is flushed by `sync`. */
  appender(path: string, truncateTo?: number): Promise<Appender>;
  /**
   * Calls `fill` with a fresh folder `path.tmp-…`, fsyncs every file in it, then renames it to `path`.
   * When `fill` or the disk fails the temporary folder is removed and nothing at `path` changes.
   */
  writeFolderAtomic(path: string, fill: (folder: string) => Promise<void>): Promise<void>;
  makeFolder(path: string): Promise<void>;
  /** Removes a file or a whole folder, if there; after a crash a folder is whole or gone (or lies under a temporary name, `NAME.tmp-…`). */
  remove(path: string): Promise<void>;
  /** The path after all symbolic links; absent where there are none. */
  realPath?(path: string): Promise<string>;
  /**
   * Takes the lock file at `path` for this process; ConfigError naming the holder when another living process (or this one) has it. A lock whose
   * holder is dead is taken over. Absent where there are no processes to guard against.
   */
  lock?(path: string): Promise<{ release(): Promise<void> }>;
  join(...parts: string[]): string;
  baseName(path: string): string;
}

export interface Appender {
  readonly position: number;
  append(text: string): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A thread that runs backend/wasm/worker.ts. */
export interface WorkerHandle {
  post(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
  onError(listener: (error: Error) => void): void;
  /** A thread does not keep the process alive; `true` makes it do so, e.g. while its answer is awaited, `false` ends that. */
  keepAlive?(on: boolean): void;
  terminate(): Promise<void>;
}

export interface Host {
  readonly name: "node" | "browser";
  /** Threads worth using, at least 1. */
  readonly parallelism: number;
  readonly files: Files;
  /** Bytes that a device may take in all; undefined where nobody says. A system that gives less kills the process, so a device refuses first. */
  readonly memoryBytes?: number;
  /** Seconds on a monotonic clock. */
  now(): number;
  /** Starts backend/wasm/worker as a thread, or returns undefined where threads cannot share memory. */
  spawnWasmWorker?(): WorkerHandle;
  /** False where a WebAssembly memory cannot be shared (a page that is not cross-origin isolated): one thread then. Default true. */
  readonly sharesMemory?: boolean;
  /** A thread begins to run only while the one that made it gives way, as in browsers: threads must run before anything may block. */
  readonly startsThreadsLate?: boolean;
  /** Whether the engine can fuse adjacent 128-bit vector operations into 256-bit ones. */
  readonly canFuseSimd?: boolean;
  /**
   * Runs `compile`, a WebAssembly.compile, so that all its code is optimised at once, with vectors fused or not: without this code begins slow, is optimised
   * when it has run for a while, and a self-test would try the slow one.
   */
  compileFast?(fused: boolean, compile: () => Promise<WebAssembly.Module>): Promise<WebAssembly.Module>;
  /** The GPU object of WebGPU. Throws DeviceError where there is none, with the cure. Absent where no host of the kind has one. */
  gpu?(): Promise<GPU>;
  /** An environment variable, or undefined. */
  env(name: string): string | undefined;
}
