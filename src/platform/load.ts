// `load`: from a name to a model that answers, in Node: finds the path, and says who opens the device there.

import { type DeviceName, openDevice, prepareDevice } from "../backend/open.ts";
import type { ChatModel } from "../chat/model.ts";
import type { ThinkTags } from "../chat/think-tags.ts";
import type { CacheType } from "../core/dtype.ts";
import type { Files, Host } from "../core/host.ts";
import type { SpeculationOptions } from "../engine/speculation.ts";
import { parseHubName } from "../formats/hub-names.ts";
import { openFolderFiles } from "../models/folder-files.ts";
import { isGgufFile, type ModelFiles } from "../models/model-files.ts";
import { findModelPath } from "./find-model.ts";
import type { PullReport } from "./hub/pull.ts";
import { checkFits, withMemoryOf } from "./memory-needs.ts";
import { nodeHost } from "./node.ts";
import { openChatModel } from "./open-model.ts";

export type LoadOptions = {
  /** "cpu" (default): WebAssembly; "webgpu": a GPU, through the package `webgpu`; "reference": plain loops, slow. */
  readonly device?: DeviceName;
  /** Default: all cores. Of the cpu alone. */
  readonly threads?: number;
  /** Tokens that prompt and completion may have together; default: the model's context, as far as 1 GiB of cache for all parallel answers goes. */
  readonly contextLength?: number;
  /** Answers that are computed at once; more wait. Default 4. */
  readonly parallel?: number;
  /** Whether and how tokens are foretold, for speed alone. Default: lookups as far as they pay, with models of 64 MiB or more. */
  readonly speculation?: SpeculationOptions;
  /** What keys and values in the cache are rounded to; default: q8_0 for block-quantised weights, f16 for 16-bit ones, else f32. */
  readonly cacheType?: CacheType;
  /** A Jinja template in place of the model's. */
  readonly chatTemplate?: string;
  /** What begins and ends thinking, where it cannot be found; false: the model does not think. */
  readonly thinking?: ThinkTags | false;
  /** Longest compilation of a structure, default 500 milliseconds; a large schema may need more with a large vocabulary. */
  readonly compileMilliseconds?: number;
  /** Hears of the progress of a download. */
  readonly pull?: PullReport;
  /** Hears what is odd but harmless in the files. */
  readonly onWarning?: (text: string) => void;
};

/**
 * `reference`: a Hugging Face folder, a .gguf file, hf:org/name (fetched into the Hub's cache when it is not there), the name of a bundled model; left out: the bundled
 * model. Throws ConfigError, FormatError, DeviceError or RequestError, each with the cure.
 */
export async function load(reference?: string, options: LoadOptions = {}): Promise<ChatModel> {
  const host = nodeHost();
  const path = await findModelPath(host.files, reference, (name) => findHub(host, name, options.pull));
  return await loadPath(host, path, options);
}

async function findHub(host: Host, reference: string, report: PullReport | undefined): Promise<string> {
  // Loaded when needed: the client of the Hub takes longer to load than a small model.
  const [{ findOrPull }, { hubSettings }] = await Promise.all([import("./hub/pull.ts"), import("./hub/settings.ts")]);
  return await findOrPull(await hubSettings(host.env), parseHubName(reference), report);
}

/** As models/files.ts, without loading what reads GGUF for a folder. */
async function openFiles(files: Files, path: string): Promise<ModelFiles> {
  if (await isGgufFile(files, path)) return await (await import("../models/gguf-files.ts")).openGgufFiles(files, path);
  return await openFolderFiles(files, path);
}

/** All parallel answers together may cache so many bytes unless contextLength says otherwise. */
const cacheBytes = 2 ** 30;

/** As load, for a folder or .gguf file that is there. */
export async function loadPath(host: Host, path: string, options: LoadOptions = {}): Promise<ChatModel> {
  const { device = "cpu", threads, parallel = 4 } = options;
  if (device === "cpu") void prepareDevice(host);
  const place = withMemoryOf(device, host);
  return await openChatModel(
    place,
    path,
    { ...options, parallel },
    {
      cacheBytes,
      openFiles,
      openChat: async (...text) => (await import("../chat/prompt.ts")).openChat(...text),
      openPlainChat: async (...text) => (await import("../chat/plain-chat.ts")).openPlainChat(...text),
      openDevice: (needs) => {
        checkFits(place, path, needs);
        return openDevice(host, { device, threads, packed: needs.packed });
      },
      openGrammars: async (...vocabulary) => (await import("./grammar-threads.ts")).openGrammarThreads(...vocabulary, options),
    },
  );
}
