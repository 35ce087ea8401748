// What `load` of gradually/browser takes and tells. Types only.

import type { ThinkTags } from "../../chat/think-tags.ts";

/** See `load`. */
export type BrowserSource = string | URL | File | readonly File[] | FileList | FileSystemFileHandle | FileSystemDirectoryHandle;

export type LoadProgress = {
  /** "fetch": bytes come from the network or the user's disk into the store; "load": weights go from there into memory. */
  readonly step: "fetch" | "load";
  /** The file that is being fetched or read. */
  readonly file: string;
  /** Bytes that are there, of all files known so far; total 0 where nobody says. */
  readonly bytes: number;
  readonly total: number;
  /** Bytes that came over the network in this call. */
  readonly fetched: number;
};

/** What can be sent to the worker as it is. */
export type PlainLoadOptions = {
  /** "cpu" (default): WebAssembly; "webgpu": the GPU, where the browser gives one. */
  readonly device?: "cpu" | "webgpu";
  /** Default: all cores (at most 8) where the page is cross-origin isolated; else 1, whatever is asked for. */
  readonly threads?: number;
  /** Default: relaxed where the browser has relaxed SIMD, else simd128. */
  readonly build?: "relaxed" | "simd128";
  /** Tokens that prompt and completion may have together; default: the model's context, as far as 512 MiB of cache for all parallel answers go. */
  readonly contextLength?: number;
  /** Answers that are computed at once; more wait. Default 2. */
  readonly parallel?: number;
  /** A Jinja template in place of the model's. */
  readonly chatTemplate?: string;
  /** What begins and ends thinking, where it cannot be found; false: the model does not think. */
  readonly thinking?: ThinkTags | false;
  /** Longest compilation of a structure by the clock, default 4,000 milliseconds. */
  readonly compileMilliseconds?: number;
  /**
   * Whether the model stays in the origin's private file system. Default: yes, where there is one; a file of the user's disk that does not fit there is read in
   * place, and without one (private windows) what comes over the network is held in memory until it is loaded, with a warning. true: that is an error. false: a file of the user is read in place, and what came over the network is removed again once it is in memory.
   */
  readonly keep?: boolean;
  /** Under which it is stored; default: made from the source. What is stored already keeps its name. */
  readonly name?: string;
  /** For hf: names. The endpoint is https://huggingface.co unless named; the token is sent to it alone. */
  readonly hub?: { readonly endpoint?: string; readonly token?: string };
};

export type BrowserLoadOptions = PlainLoadOptions & {
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Hears what is odd but harmless. */
  readonly onWarning?: (text: string) => void;
  /** Ends the load; what has been fetched stays, and the next load goes on from there. */
  readonly signal?: AbortSignal;
};
