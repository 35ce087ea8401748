// A server on a random local port for the tests, with models of a few kilobytes: scripted ones that say exactly what a test wants them to say,
// tiny random ones whose answers depend on every token before. Everything is closed after each test.

import { afterEach } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import type { GrammarEngine, Structure } from "../../src/chat/grammar.ts";
import { openChat } from "../../src/chat/prompt.ts";
import type { JsonObject } from "../../src/core/json.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions } from "../../src/engine/options.ts";
import type { ForwardInput, ForwardOutput, Model } from "../../src/models/model.ts";
import { openGrammarThreads } from "../../src/platform/grammar-threads.ts";
import { type Listener, listen } from "../../src/platform/node-listener.ts";
import { type App, type AppOptions, makeApp } from "../../src/server/app.ts";
import type { LoadedModel, ModelEntry } from "../../src/server/shelf.ts";
import { mockModel, scriptedModel } from "../engine/mock-model.ts";
import { byteTokenizer, endId, template, tinyModel, vocabSize } from "./tiny.ts";

export { byteTokenizer, endId, plainTemplate, template, tinyModel, vocabSize } from "./tiny.ts";

const cleanups: (() => unknown)[] = [];

export function afterThis(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export type Spoken = {
  /** What the model says after any prompt; then it ends. Tags become their tokens. A list: a text for each request in turn, the last one from then on. */
  readonly says?: string | readonly string[];
  readonly contextLength?: number;
  readonly slots?: number;
  /** Called before each step; may throw, as a device does. */
  readonly onForward?: (step: number, rows: number) => void;
  /** Waits so long before each step: for tests that need time. */
  readonly stepMs?: number;
  readonly engine?: EngineOptions;
  readonly generationConfig?: JsonObject;
  readonly template?: string;
  readonly device?: Device;
  /** Compiles structures. */
  readonly grammars?: boolean;
};

/** A model on the shelf: with `says` it says that text after any prompt and ends; else it is a tiny random one. */
export function speaker(spoken: Spoken = {}): LoadedModel {
  const tokenizer = byteTokenizer();
  const { says, contextLength = 512, slots = 4 } = spoken;
  const scripts = (says === undefined ? [] : [says].flat()).map((text) => [...tokenizer.encode(text, { addSpecialTokens: false }), endId]);
  const tables = new Map<string, Model>();
  let current: Model | undefined;
  const { device = openReference() } = spoken;
  const own = scripts.length > 0 ? mockModel({ vocabSize, contextLength }, device) : tinyModel(contextLength, device);
  const model: Model = { ...own, forward };
  let steps = 0;
  function forward(input: ForwardInput): ForwardOutput {
    if (spoken.stepMs !== undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, spoken.stepMs);
    spoken.onForward?.(++steps, input.ids.shape[0] as number);
    return (current ?? own).forward(input);
  }
  let turn = 0;
  /** The script begins where the prompt of the last request ends: requests under way together must have prompts of one length. */
  class ScriptedEngine extends Engine {
    override submit(...[request, options]: Parameters<Engine["submit"]>): ReturnType<Engine["submit"]> {
      const { length } = request.ids;
      const place = Math.min(turn++, scripts.length - 1);
      const script = scripts[place];
      const key = `${place} ${length}`;
      if (script && !tables.has(key)) tables.set(key, scriptedModel(script, length, vocabSize, { contextLength }, device));
      current = tables.get(key);
      return super.submit(request, options);
    }
  }
  const stopIds = [endId];
  let grammars: Promise<GrammarEngine> | undefined;
  const constrain = async (structure: Structure) => {
    grammars ??= openGrammarThreads(tokenizer, vocabSize, stopIds, { compileMilliseconds: 3000 });
    return await (await grammars).constrain(structure);
  };
  const engine = new ScriptedEngine(model, { slots, contextLength, ...spoken.engine });
  const chat = openChat(tokenizer, { default: spoken.template ?? template }, "test");
  return {
    engine,
    tokenizer,
    chat,
    ...(chat.thinkTags && { thinkTags: chat.thinkTags }),
    generationConfig: spoken.generationConfig ?? { eos_token_id: endId },
    slots,
    ...(spoken.grammars && { constrain }),
    close: async () => {
      await engine.dispose();
      await (await grammars)?.close();
      for (const table of tables.values()) table.dispose();
      model.dispose();
    },
  };
}

export type Started = { readonly app: App; readonly url: string; readonly listener: Listener; readonly lines: string[] };

export function entry(name: string, load: () => LoadedModel | Promise<LoadedModel>, bytes = 1000): ModelEntry {
  return { name, bytes, created: 1_700_000_000, load: async () => await load() };
}

/** An app without a socket. */
export async function openApp(options: Partial<AppOptions> & { spoken?: Spoken } = {}): Promise<{ app: App; lines: string[] }> {
  const { spoken = {}, ...rest } = options;
  const lines: string[] = [];
  const app = await makeApp({
    models: [entry("test", () => speaker(spoken))],
    version: "0.0.0",
    log: (line) => lines.push(line),
    ...rest,
  });
  await app.start();
  afterThis(() => app.close());
  return { app, lines };
}

export async function openServer(options: Partial<AppOptions> & { spoken?: Spoken } = {}): Promise<Started> {
  const { app, lines } = await openApp(options);
  const listener = await listen((request) => app.fetch(request), { host: "127.0.0.1", port: 0, limits: app.server.limits });
  afterThis(async () => {
    listener.destroy();
    await listener.close();
  });
  return { app, lines, listener, url: `http://127.0.0.1:${listener.port}` };
}
