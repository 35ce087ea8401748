// `gradually/browser/ai-sdk`: a language model of the AI SDK in a tab, without a server: `const { model } = await gradually("hf:Qwen/Qwen3-0.6B")`, then
// generateText({ model, … }). The app that `gradually serve` runs answers in the engine's worker; its `fetch` is here too, for clients of the
// OpenAI API that take one.

import type { LanguageModelV4 } from "@ai-sdk/provider";
import { languageModel } from "../server/ai-sdk.ts";
import { remoteFetch } from "./browser/fetch-app.ts";
import { BrowserModel } from "./browser/model.ts";
import type { BrowserLoadOptions, BrowserSource } from "./browser/options.ts";
import { describeSource } from "./browser/sources.ts";
import { Wire } from "./browser/wire.ts";

export type InPage = {
  readonly model: LanguageModelV4;
  /** The same model as gradually/browser gives it. */
  readonly direct: BrowserModel;
  /** What `gradually serve` would answer; the host of the URL must be localhost. */
  fetch(request: Request): Promise<Response>;
  close(): Promise<void>;
};

/** `source` and options as `load` of gradually/browser; throws what it throws. */
export async function gradually(source: BrowserSource, options: BrowserLoadOptions = {}): Promise<InPage> {
  options.signal?.throwIfAborted();
  const described = await describeSource(source);
  const wire = new Wire(new Worker(new URL("./browser/app-worker.js", import.meta.url), { type: "module", name: "gradually" }));
  const direct = await BrowserModel.load(wire, described, options);
  const fetch = (request: Request) => remoteFetch(wire, request);
  return { model: languageModel({ fetch }, direct.name), direct, fetch, close: () => direct.close() };
}
