// The model as the page has it: the same `respond` and `generate` as chat/model.ts, carried to the worker and back. Breaking out of the loop, or the signal,
// stops the work there.

import type { ChatOptions, Message, RespondOptions } from "../../chat/model.ts";
import { type Answer, ChatResponse } from "../../chat/response.ts";
import type { ThinkTags } from "../../chat/think-tags.ts";
import { RequestError } from "../../core/errors.ts";
import type { Call, ModelFacts } from "./messages.ts";
import type { BrowserLoadOptions } from "./options.ts";
import type { DescribedSource } from "./sources.ts";
import type { Wire } from "./wire.ts";

export class BrowserModel {
  /** Under which it is stored, or what its files are called. */
  readonly name: string;
  /** Whether the origin's private file system keeps it. */
  readonly isStored: boolean;
  /** Tokens that prompt and completion may have together. */
  readonly contextLength: number;
  /** Without a template `respond` is a guess: the last message is a problem of the task that the model was trained for, or all of them are plain ChatML. */
  readonly hasTemplate: boolean;
  readonly thinkTags: ThinkTags | undefined;
  /** What it runs on. */
  readonly build: string;
  readonly threads: number;
  readonly weightBytes: number;
  readonly #wire: Wire;
  #closed: Promise<void> | undefined;

  private constructor(wire: Wire, facts: ModelFacts) {
    this.#wire = wire;
    this.name = facts.name;
    this.isStored = facts.isStored;
    this.contextLength = facts.contextLength;
    this.hasTemplate = facts.hasTemplate;
    this.thinkTags = facts.thinkTags;
    this.build = facts.build;
    this.threads = facts.threads;
    this.weightBytes = facts.weightBytes;
  }

  /** Called by `load`. The worker ends when loading fails. */
  static async load(wire: Wire, source: DescribedSource, options: BrowserLoadOptions): Promise<BrowserModel> {
    const { onProgress, onWarning, signal, ...plain } = options;
    try {
      const { facts } = await wire.call(
        { kind: "load", source, options: plain },
        {
          signal,
          hear: (reply) => {
            if (reply.kind === "progress") onProgress?.(reply.progress);
            else if (reply.kind === "warning") onWarning?.(reply.text);
          },
        },
      );
      return new BrowserModel(wire, facts as ModelFacts);
    } catch (error) {
      wire.terminate(closed());
      throw error;
    }
  }

  /** Answers messages, or one message of a user. Errors come from the response: RequestError for what cannot be served. */
  respond(input: string | readonly Message[], options: ChatOptions = {}): ChatResponse {
    const { signal, ...plain } = options;
    return this.#start({ kind: "respond", input, options: sendable(plain) }, signal);
  }

  /** Continues a text as it is, after what the tokenizer puts before every text. */
  generate(text: string, options: RespondOptions = {}): ChatResponse {
    const { signal, ...plain } = options;
    return this.#start({ kind: "generate", text, options: sendable(plain) }, signal);
  }

  /** Stops what is under way, frees the memory and ends the worker. What is stored stays. */
  close(): Promise<void> {
    this.#closed ??= this.#wire
      .call({ kind: "close" })
      .catch(() => {}) // a worker that died is closed
      .then(() => this.#wire.terminate(closed()));
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #start(call: Call, given: AbortSignal | undefined): ChatResponse {
    const stop = new AbortController();
    const signal = given ? AbortSignal.any([given, stop.signal]) : stop.signal;
    return new ChatResponse(
      async (emit) => {
        const { answers } = await this.#wire.call(call, {
          signal,
          hear: (reply) => {
            if (reply.kind === "part") emit(reply.part);
          },
        });
        return [...(answers as readonly Answer[])];
      },
      (reason) => stop.abort(reason),
    );
  }
}

/** An iterable of pairs may be anything, a generator too; a list can be sent. */
function sendable<T extends RespondOptions>(options: T): T {
  return options.logitBias === undefined ? options : { ...options, logitBias: [...options.logitBias] };
}

function closed(): RequestError {
  return new RequestError({ operation: "use a model", got: "one that was closed", expected: "an open one", cure: "load it again" });
}
