// `gradually/browser`: the engine in a tab. `load` starts a worker that fetches or opens a model, keeps it in the origin's private file system, and answers;
// the page only passes messages, so it stays smooth. In: a URL, a name of the Hub, files of the user, or the name of a stored model. Out: a model with
// the `respond` of Node's. Threads where the page is cross-origin isolated (headers COOP: same-origin and COEP: require-corp), one thread otherwise.
// Unusual: the worker is found by `new URL(…, import.meta.url)`, the form that Vite and other bundlers know.

import { BrowserModel } from "./browser/model.ts";
import type { BrowserLoadOptions, BrowserSource } from "./browser/options.ts";
import { describeSource } from "./browser/sources.ts";
import { forget, listStored, type StoredModel } from "./browser/store.ts";
import { Wire } from "./browser/wire.ts";

export type { ChatOptions, Message, RespondOptions } from "../chat/model.ts";
export { type Answer, ChatResponse, type Part, type Statistics } from "../chat/response.ts";
export { ConfigError, DeviceError, FormatError, GraduallyError, RequestError, ShapeError } from "../core/errors.ts";
export type { BrowserLoadOptions, BrowserSource, LoadProgress } from "./browser/options.ts";
export type { BrowserModel, StoredModel };

/**
 * `source`: the URL of a Hugging Face folder or a .gguf file (relative ones count from the page), `hf:org/name[@revision][:file]`, a File, a FileList or a
 * folder's files, a handle of a file or folder, or the name of a stored model. What was stored completely is not asked for again, so it loads offline.
 * Throws ConfigError, FormatError, DeviceError or RequestError, each with the cure; the signal's reason when it is aborted.
 */
export async function load(source: BrowserSource, options: BrowserLoadOptions = {}): Promise<BrowserModel> {
  options.signal?.throwIfAborted();
  const described = await describeSource(source);
  const wire = new Wire(new Worker(new URL("./browser/worker.js", import.meta.url), { type: "module", name: "gradually" }));
  return await BrowserModel.load(wire, described, options);
}

/** What this origin keeps, by name; broken-off downloads too (isComplete false). */
export function storedModels(): Promise<StoredModel[]> {
  return listStored();
}

/** False when nothing is stored under the name. Throws ConfigError while a page still fetches or loads it. */
export function deleteModel(name: string): Promise<boolean> {
  return forget(name);
}
