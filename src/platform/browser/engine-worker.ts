// The engine's worker: messages of the page in, replies out (messages.ts). One model for its life. Loading finds the files (store, network, the user's disk),
// opens the device, and says what would fit when there is too little memory; answers run side by side, and each can be cancelled.

import type { Device } from "../../backend/backend.ts";
import type { ChatModel } from "../../chat/model.ts";
import { openPlainChat } from "../../chat/plain-chat.ts";
import { openChat } from "../../chat/prompt.ts";
import type { ChatResponse } from "../../chat/response.ts";
import { DeviceError, RequestError } from "../../core/errors.ts";
import { openModelFiles } from "../../models/files.ts";
import { openChatModel } from "../open-model.ts";
import { openBrowserGrammars } from "./grammars.ts";
import { browserHost, openBrowserDevice } from "./host.ts";
import { type ModelFacts, type ToPage, type ToWorker, toWire } from "./messages.ts";
import { findModelFiles } from "./model-files.ts";
import type { PlainLoadOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import { checkMemory, memoryRefused } from "./quota.ts";
import type { DescribedSource } from "./sources.ts";

const defaultParallel = 2;
/** All parallel answers together may cache so many bytes unless contextLength says otherwise: tabs have less memory than programs. */
const cacheBytes = 2 ** 29;

export type Fetch = (request: Request) => Promise<Response>;
/** Makes the app that answers "fetch". */
export type AppMaker = (model: ChatModel, name: string, slots: number) => Promise<Fetch>;

type Reply = ToPage extends infer T ? (T extends { readonly id: number } ? Omit<T, "id"> : never) : never;
type Say = (reply: Reply, transfer?: Transferable[]) => void;

export function serveEngine(makeFetch?: AppMaker): void {
  const engine = new EngineWorker(makeFetch);
  addEventListener("message", ({ data }: MessageEvent<ToWorker>) => engine.hear(data));
}

class EngineWorker {
  readonly #makeFetch: AppMaker | undefined;
  readonly #running = new Map<number, AbortController>();
  #model: ChatModel | undefined;
  #fetch: Fetch | undefined;

  constructor(makeFetch: AppMaker | undefined) {
    this.#makeFetch = makeFetch;
  }

  hear(message: ToWorker): void {
    const { id } = message;
    if (message.kind === "cancel") {
      this.#running.get(id)?.abort(new DOMException("the page cancelled", "AbortError"));
      return;
    }
    const stop = new AbortController();
    this.#running.set(id, stop);
    const say: Say = (reply, transfer = []) => postMessage({ id, ...reply }, { transfer });
    void this.#do(message, say, stop.signal)
      .catch((thrown) => say({ kind: "failed", error: toWire(thrown) }))
      .finally(() => this.#running.delete(id));
  }

  async #do(message: Exclude<ToWorker, { kind: "cancel" }>, say: Say, signal: AbortSignal): Promise<void> {
    switch (message.kind) {
      case "load":
        return say({ kind: "done", facts: await this.#load(message.source, message.options, say, signal) });
      case "respond":
        return await this.#stream(this.#open().respond(message.input, { ...message.options, signal }), say);
      case "generate":
        return await this.#stream(this.#open().generate(message.text, { ...message.options, signal }), say);
      case "fetch":
        return await this.#answer(message, say, signal);
      case "close":
        await this.#model?.close();
        return say({ kind: "done" });
    }
  }

  async #load(source: DescribedSource, options: PlainLoadOptions, say: Say, signal: AbortSignal): Promise<ModelFacts> {
    const onWarning = (text: string) => say({ kind: "warning", text });
    const tell = (step: "fetch" | "load") => new Progress(step, (progress) => say({ kind: "progress", progress }));
    const loading = tell("load");
    const found = await findModelFiles(source, options, { fetching: tell("fetch"), loading, onWarning, signal });
    try {
      const { model, device, weightBytes } = await openModel(found.name, browserHost(found.files), found.path, options, onWarning);
      this.#model = model;
      loading.finish();
      signal.throwIfAborted();
      this.#fetch = await this.#makeFetch?.(model, found.name, options.parallel ?? defaultParallel);
      return {
        name: found.name,
        isStored: await found.settle(),
        contextLength: model.contextLength,
        hasTemplate: model.hasTemplate,
        ...(model.thinkTags && { thinkTags: model.thinkTags }),
        build: device.info.name === "webgpu" ? `webgpu ${device.info.build}` : device.info.build,
        threads: device.info.threads,
        weightBytes,
      };
    } finally {
      found.release();
    }
  }

  #open(): ChatModel {
    if (this.#model) return this.#model;
    throw new RequestError({ operation: "respond", got: "a model that is not loaded", expected: "a loaded one", cure: "load it first" });
  }

  async #stream(response: ChatResponse, say: Say): Promise<void> {
    for await (const part of response) say({ kind: "part", part });
    say({ kind: "done", answers: await response.answers() });
  }

  async #answer({ url, method, headers, body }: Extract<ToWorker, { kind: "fetch" }>, say: Say, signal: AbortSignal): Promise<void> {
    if (!this.#fetch) {
      throw new RequestError({
        operation: "fetch",
        got: "a worker without the server's app",
        expected: "one with it",
        cure: "use gradually/browser/ai-sdk",
      });
    }
    const response = await this.#fetch(new Request(url, { method, headers, signal, ...(body.byteLength > 0 && { body }) }));
    say({ kind: "head", status: response.status, headers: [...response.headers] });
    const reader = response.body?.getReader();
    while (reader) {
      const { done, value } = await reader.read();
      if (done) break;
      const bytes = new Uint8Array(value);
      say({ kind: "chunk", bytes }, [bytes.buffer]);
    }
    signal.throwIfAborted();
    say({ kind: "done" });
  }
}

async function openModel(
  name: string,
  host: ReturnType<typeof browserHost>,
  path: string,
  options: PlainLoadOptions,
  onWarning: (text: string) => void,
) {
  let opened: { device: Device; needs: Parameters<typeof checkMemory>[1] } | undefined;
  try {
    const model = await openChatModel(
      host,
      path,
      { ...options, parallel: options.parallel ?? defaultParallel, onWarning },
      {
        cacheBytes,
        openFiles: openModelFiles,
        openChat,
        openPlainChat,
        openDevice: async (needs) => {
          if (options.device !== "webgpu") checkMemory(name, needs);
          const device = await openBrowserDevice(host, options, needs.packed);
          opened = { device, needs };
          return device;
        },
        openGrammars: (...vocabulary) => openBrowserGrammars(...vocabulary, options),
      },
    );
    const { device, needs } = opened as NonNullable<typeof opened>;
    return { model, device, weightBytes: needs.weightBytes };
  } catch (thrown) {
    const isMemory = (thrown instanceof DeviceError && thrown.complaint.operation.startsWith("allocate")) || thrown instanceof RangeError;
    if (isMemory && opened) throw memoryRefused(name, opened.needs, opened.device.memory?.().reserved ?? 0, thrown);
    throw thrown;
  }
}
