// The door to a loaded model: messages or text in, reasoning and content out, with statistics. It joins what others do: the chat template, the
// plan of thinking, the tokenizer, the engine, the writer of answers. Any number of responses may be under way; the engine serves them together.

import { RequestError } from "../core/errors.ts";
import type { JsonObject, JsonValue } from "../core/json.ts";
import { Engine } from "../engine/engine.ts";
import type { EngineOptions } from "../engine/options.ts";
import { type GenerationRequest, type GenerationResult, type Sampling, sampleSeed } from "../engine/request.ts";
import type { Model } from "../models/model.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type AnswerWriter, answerWriter } from "./answer-writer.ts";
import { type GrammarConstraint, type GrammarEngine, noGrammars, type Structure } from "./grammar.ts";
import { readMessages } from "./messages.ts";
import type { Chat } from "./prompt.ts";
import { type Answer, ChatResponse, type Part } from "./response.ts";
import { numberAt, stopIdsOf, withDefaults } from "./sampling-defaults.ts";
import { checkStopStrings } from "./stop-strings.ts";
import type { ThinkTags } from "./think-tags.ts";
import { planThinking, stateAfter, type ThinkingOptions, type ThinkingPlan } from "./thinking.ts";

export type Message = {
  readonly role: string;
  readonly content?: JsonValue;
  readonly [key: string]: JsonValue | undefined;
};

export type RespondOptions = Sampling & {
  /** Most tokens to generate, thinking included, 1..2^31-1; cut to what is left of the context. Default: max_new_tokens of generation_config.json, else the rest. */
  readonly maxTokens?: number;
  /** At most 4 texts that end the answer; they are not part of it. */
  readonly stop?: string | readonly string[];
  /** false: none; an object: with this budget; true: ask the template for it. Default: as model and template do. */
  readonly thinking?: boolean | ThinkingOptions;
  /** What the answer, after thinking, must look like. */
  readonly structure?: Structure;
  /** Answers to one prompt, 1..16; answer i is drawn with seed + i. */
  readonly n?: number;
  readonly logprobs?: boolean;
  /** 0..20. */
  readonly topLogprobs?: number;
  readonly signal?: AbortSignal;
};

export type ChatOptions = RespondOptions & {
  /** Put before the messages. */
  readonly system?: string;
  readonly tools?: readonly JsonObject[];
  readonly documents?: readonly JsonValue[];
  /** Switches of the template; see templateSwitches of chat-template.ts. */
  readonly templateSwitches?: Readonly<Record<string, unknown>>;
};

export type ChatModelParts = {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  /** Writes prompts; absent for a model without a chat template. */
  readonly chat?: Chat;
  /** What writes them in place of a template; called at the first messages. */
  readonly openPlainChat?: () => Chat | Promise<Chat>;
  /** How the model marks its reasoning; absent for one that does not think. */
  readonly thinkTags?: ThinkTags;
  /** Special ids and sampling defaults. */
  readonly generationConfig: JsonObject;
  /** Seconds. */
  readonly now: () => number;
  readonly engine?: EngineOptions;
  /** Called when the first request wants a structure. `stopIds` may end what the grammar allows to end. */
  readonly openGrammars?: (tokenizer: Tokenizer, vocabSize: number, stopIds: readonly number[]) => Promise<GrammarEngine>;
  /** Frees model, device and files. */
  readonly close?: () => Promise<void>;
};

export type Prepared = { readonly prompt: string; readonly ids: number[]; readonly plan: ThinkingPlan };

export const mostAnswers = 16;

export class ChatModel {
  readonly tokenizer: Tokenizer;
  readonly thinkTags: ThinkTags | undefined;
  readonly generationConfig: JsonObject;
  readonly stopIds: readonly number[];
  readonly contextLength: number;
  readonly engine: Engine;
  readonly #parts: ChatModelParts;
  #chat: Promise<Chat> | undefined;
  #grammars: Promise<GrammarEngine> | undefined;
  #closed: Promise<void> | undefined;

  constructor(parts: ChatModelParts) {
    const { model, tokenizer, generationConfig } = parts;
    this.#parts = parts;
    this.tokenizer = tokenizer;
    this.thinkTags = parts.thinkTags;
    this.generationConfig = generationConfig;
    this.stopIds = stopIdsOf(generationConfig, tokenizer.specialIds.eos, model.vocabSize);
    const vocabLimit = Math.min(tokenizer.vocabSize, model.vocabSize);
    this.engine = new Engine(model, { vocabLimit, ...parts.engine });
    this.contextLength = this.engine.contextLength;
  }

  get hasTemplate(): boolean {
    return this.#parts.chat !== undefined;
  }

  /** What writes prompts from messages: the model's template, or what stands in its place. Throws RequestError where nothing does. */
  openChat(): Promise<Chat> {
    this.#chat ??= this.#openChat().catch((error: unknown) => {
      this.#chat = undefined; // what could not be loaded now may be another time
      throw error;
    });
    return this.#chat;
  }

  /** Answers messages, or one message of a user. Errors come from the response: RequestError for what cannot be served. */
  respond(input: string | readonly Message[], options: ChatOptions = {}): ChatResponse {
    return this.#start(options, () => this.prepareChat(input, options));
  }

  /** Continues a text as it is, after what the tokenizer puts before every text. */
  generate(text: string, options: RespondOptions = {}): ChatResponse {
    return this.#start(options, () => this.prepareText(text, options));
  }

  /** The prompt that `respond` would send. Throws RequestError. */
  async prepareChat(input: string | readonly Message[], options: ChatOptions = {}): Promise<Prepared> {
    const chat = await this.openChat();
    const { thinking, system, tools, documents } = options;
    const list: unknown = typeof input === "string" ? [{ role: "user", content: input }] : input;
    const messages = readMessages(list as JsonValue, "messages");
    const switches = thinkingSwitches
      .filter((name) => thinking !== undefined && chat.hasSwitch(name))
      .map((name) => [name, thinking !== false]);
    const { text, ids } = chat.prompt({
      messages: system === undefined ? messages : [{ role: "system", content: system }, ...messages],
      ...(tools && { tools }),
      ...(documents && { documents }),
      switches: { ...Object.fromEntries(switches), ...options.templateSwitches },
    });
    return this.#plan(text, ids, options, false);
  }

  /** The prompt that `generate` would send. A text that ends with the opening delimiter begins within thinking. */
  prepareText(text: string, options: RespondOptions = {}): Prepared {
    if (typeof text !== "string") {
      throw new RequestError({
        operation: "generate",
        got: `something of type ${typeof text}`,
        expected: "a text",
        cure: "use respond for messages",
      });
    }
    return this.#plan(text, this.tokenizer.encode(text), options, true);
  }

  /** Stops what is under way and frees everything. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.engine.dispose();
    await (await this.#grammars?.catch(() => undefined))?.close();
    await this.#parts.close?.();
  }

  async #openChat(): Promise<Chat> {
    const { chat, openPlainChat } = this.#parts;
    if (chat) return chat;
    if (openPlainChat) return await openPlainChat();
    throw new RequestError({
      operation: "respond",
      got: "a model without a chat template",
      expected: "one with a template",
      cure: "use generate(text), or give a chatTemplate when the model is loaded",
    });
  }

  #plan(text: string, ids: readonly number[], { thinking, structure }: RespondOptions, isText: boolean): Prepared {
    const { tokenizer, thinkTags } = this;
    // A text is continued as it is, unless somebody asks for thinking, or the text has begun it.
    const leave = isText && thinking === false && stateAfter(text, thinkTags) !== "inside";
    const asked = leave ? undefined : isText && thinking === true ? {} : thinking;
    const plan = planThinking(text, asked, thinkTags, tokenizer, structure !== undefined && !isText);
    const more = plan.suffix === "" ? [] : tokenizer.encode(plan.suffix, { addSpecialTokens: false });
    return { prompt: text + plan.suffix, ids: [...ids, ...more], plan };
  }

  #start(options: RespondOptions, prepare: () => Prepared | Promise<Prepared>): ChatResponse {
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    return new ChatResponse(
      async (emit) => {
        signal.throwIfAborted();
        const n = checkCount(options.n ?? 1);
        const stops = checkStopStrings(options.stop);
        const prepared = await prepare();
        const sampling = withDefaults(options, this.generationConfig);
        const answers = Array.from({ length: n }, (_, index) =>
          this.#answer(
            prepared,
            options,
            { ...sampling, ...(sampling.seed !== undefined && { seed: sampleSeed(sampling.seed, index) }) },
            stops,
            signal,
            (part) => emit({ index, ...part }),
          ),
        );
        try {
          return await Promise.all(answers);
        } catch (error) {
          stop.abort(error);
          await Promise.allSettled(answers);
          throw error;
        }
      },
      (reason) => stop.abort(reason),
    );
  }

  async #answer(
    { ids, plan }: Prepared,
    options: RespondOptions,
    sampling: Sampling,
    stops: readonly string[],
    signal: AbortSignal,
    emit: (part: Omit<Part, "index">) => void,
  ): Promise<Answer> {
    const { now } = this.#parts;
    const began = now();
    const constraint = options.structure === undefined ? undefined : await this.constrain(options.structure);
    try {
      signal.throwIfAborted();
      const writer = answerWriter(this.tokenizer, this.thinkTags, plan.begin, stops);
      const texts = { reasoning: "", content: "" };
      const take = (pieces: ReturnType<AnswerWriter["push"]>) => {
        for (const { kind, text } of pieces) {
          texts[kind] += text;
          emit({ reasoning: "", content: "", [kind]: text });
        }
      };
      let first: number | undefined;
      const request: GenerationRequest = {
        ids,
        maxTokens: options.maxTokens ?? numberAt(this.generationConfig, "max_new_tokens") ?? this.contextLength,
        stop: this.stopIds,
        sampling,
        ...(plan.budget && { budget: plan.budget }),
        ...(options.logprobs && { logprobs: true }),
        ...(options.topLogprobs !== undefined && { topLogprobs: options.topLogprobs }),
        ...(constraint && { constraint }),
      };
      const onToken = (id: number) => {
        first ??= now();
        take(writer.push(id));
        return writer.stopText === undefined ? undefined : "stop";
      };
      const result = await this.engine.submit(request, { onToken, signal });
      take(writer.end());
      const statistics = summarise(result, writer, began, first ?? now(), now());
      emit({ reasoning: "", content: "", statistics });
      return {
        ...texts,
        ids: result.ids,
        ...(result.logprobs && { logprobs: result.logprobs }),
        ...(result.topLogprobs && { topLogprobs: result.topLogprobs }),
        statistics,
      };
    } finally {
      constraint?.dispose();
    }
  }

  /** A constraint for one sequence of this model's engine. Throws RequestError for what cannot be compiled. */
  async constrain(structure: Structure): Promise<GrammarConstraint> {
    return await (await this.#openGrammars()).constrain(structure);
  }

  #openGrammars(): Promise<GrammarEngine> {
    const { openGrammars, model } = this.#parts;
    if (!openGrammars) noGrammars();
    this.#grammars ??= openGrammars(this.tokenizer, model.vocabSize, this.stopIds);
    return this.#grammars;
  }
}

function summarise(result: GenerationResult, writer: AnswerWriter, began: number, first: number, ended: number): Answer["statistics"] {
  const completion = result.ids.length;
  const [reading, writing] = [first - began, ended - first];
  return {
    promptTokens: result.promptTokens,
    cachedTokens: result.cachedTokens,
    completionTokens: completion,
    thinkingTokens: result.thinkingTokens ?? writer.thinkingTokens,
    forcedTokens: result.forced,
    draftedTokens: result.drafted ?? 0,
    acceptedTokens: result.accepted ?? 0,
    stop: result.stop,
    ...(writer.stopText !== undefined && { stopText: writer.stopText }),
    promptPerSecond: reading > 0 ? (result.promptTokens - result.cachedTokens) / reading : 0,
    generatedPerSecond: completion > 1 && writing > 0 ? (completion - 1) / writing : completion / Math.max(ended - began, 1e-9),
    timeToFirstToken: reading,
    seconds: ended - began,
    seed: result.seed,
  };
}

function checkCount(n: number): number {
  if (Number.isInteger(n) && n >= 1 && n <= mostAnswers) return n;
  throw new RequestError({ operation: "generate: n", got: String(n), expected: `an integer from 1 to ${mostAnswers}`, cure: "change n" });
}

/** Names that templates give to the switch of thinking. */
const thinkingSwitches = ["enable_thinking", "thinking"] as const;
