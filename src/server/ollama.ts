// Ollama's API as a thin adapter: /api/chat, /api/generate, and what clients ask about models. In: its requests. Out: its answers, as lines of JSON
// while they come. Durations are nanoseconds. Nothing is pulled, copied or deleted through it.

import { z } from "zod";
import type { Delta } from "../chat/delta-writer.ts";
import { FormatError } from "../core/errors.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import type { Call } from "./call.ts";
import { prepareChat, prepareText } from "./chat-job.ts";
import type { Finish } from "./generation.ts";
import { readJob, readOptions } from "./openai-chat.ts";
import { badField } from "./refusal.ts";
import { anyObject, fraction, integer, number, stop } from "./schema-parts.ts";
import { type ChatRequest, type MessageBody, tool } from "./schemas.ts";
import type { ModelEntry, ServedModel } from "./shelf.ts";
import { checkTexts } from "./text-size.ts";
import { type Spelling, Work } from "./work.ts";

const options = z.looseObject({
  temperature: number(0, 2).nullish(),
  top_p: fraction.nullish(),
  top_k: integer(0, 2_147_483_647).nullish(),
  min_p: number(0, 1).nullish(),
  typical_p: fraction.nullish(),
  repeat_penalty: number(0.01, 100).nullish(),
  presence_penalty: number(-2, 2).nullish(),
  frequency_penalty: number(-2, 2).nullish(),
  seed: integer(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER).nullish(),
  num_predict: integer(-2, 2_147_483_647).nullish().describe("-1 and -2: as long as the context allows."),
  stop,
});

const common = {
  model: z.string().max(256),
  options: options.nullish(),
  format: z.union([z.literal(""), z.literal("json"), anyObject]).nullish(),
  stream: z.boolean().nullish(),
  think: z.union([z.boolean(), z.enum(["low", "medium", "high"])]).nullish(),
};

const call = z.looseObject({ function: z.looseObject({ name: z.string().min(1).max(256), arguments: anyObject.nullish() }) });

export const ollamaChatRequest = z.object({
  ...common,
  messages: z
    .array(
      z.looseObject({
        role: z.enum(["system", "user", "assistant", "tool"]),
        content: z.string().nullish(),
        thinking: z.string().nullish(),
        tool_calls: z.array(call).nullish(),
        tool_name: z.string().max(256).nullish(),
        images: z.array(z.unknown()).max(0, "no images: this server reads text only").nullish(),
      }),
    )
    .nullish(),
  tools: z.array(tool).nullish(),
});

export const ollamaGenerateRequest = z.object({
  ...common,
  prompt: z.string().nullish(),
  system: z.string().nullish(),
  raw: z.boolean().nullish(),
  context: z.array(z.unknown()).max(0, "nothing: this server keeps no conversation; /api/chat takes all of it").nullish(),
  template: z.string().max(0, "no template: the model's own is used").nullish(),
  suffix: z.string().max(0, "no suffix: this server only continues texts").nullish(),
  images: z.array(z.unknown()).max(0, "no images: this server reads text only").nullish(),
});

export const ollamaShowRequest = z.object({ model: z.string().max(256).nullish(), name: z.string().max(256).nullish() });

type Common = Pick<z.output<typeof ollamaChatRequest>, "model" | "options" | "format" | "think">;

export async function ollamaChat(call: Call<z.output<typeof ollamaChatRequest>>): Promise<Response> {
  const { body } = call;
  const messages = body.messages ?? [];
  if (messages.length === 0) return await loadOnly(call, body.model, (done) => ({ message: { role: "assistant", content: "" }, ...done }));
  const asked: ChatRequest = { ...sampling(body), messages: readMessages(messages), tools: body.tools };
  const work = await Work.start(call, nameOf(call, body.model), (model) => prepareChat(model, readJob(call, asked, model)));
  const spell = (text: string, thinking: string, calls: readonly object[]) => ({
    message: {
      role: "assistant",
      content: text,
      ...(thinking !== "" && { thinking }),
      ...(calls.length > 0 && { tool_calls: calls }),
    },
  });
  return await answer(work, body.stream ?? true, spell);
}

export async function ollamaGenerate(call: Call<z.output<typeof ollamaGenerateRequest>>): Promise<Response> {
  const { body } = call;
  const { prompt = "", system } = body;
  if (prompt === null || prompt === "") return await loadOnly(call, body.model, (done) => ({ response: "", ...done }));
  const asked: ChatRequest = {
    ...sampling(body),
    messages: [...(system ? [{ role: "system" as const, content: system }] : []), { role: "user", content: prompt }],
  };
  const work = await Work.start(call, nameOf(call, body.model), async (model) => {
    if (!body.raw && !model.isPlain) return await prepareChat(model, readJob(call, asked, model));
    await checkTexts([prompt], model, "prompt");
    const ids = model.tokenizer.encode(prompt);
    const limit = asked.max_tokens;
    return prepareText(model, ids, { ...readOptions(call, asked, model), ...(limit && { maxTokens: limit }) });
  });
  return await answer(work, body.stream ?? true, (text, thinking) => ({ response: text, ...(thinking !== "" && { thinking }) }));
}

/** OpenAI's fields for Ollama's options. */
function sampling({ options: given, format, think, model }: Common): ChatRequest & { messages: [] } {
  const { num_predict: limit } = given ?? {};
  return {
    model,
    messages: [],
    temperature: given?.temperature,
    top_p: given?.top_p,
    top_k: given?.top_k,
    min_p: given?.min_p,
    typical_p: given?.typical_p,
    repetition_penalty: given?.repeat_penalty,
    presence_penalty: given?.presence_penalty,
    frequency_penalty: given?.frequency_penalty,
    seed: given?.seed,
    stop: given?.stop,
    max_tokens: limit === null || limit === undefined || limit <= 0 ? undefined : limit,
    ...(typeof think === "boolean" ? { enable_thinking: think } : think ? { reasoning_effort: think } : {}),
    response_format: !format
      ? undefined
      : format === "json"
        ? { type: "json_object" }
        : { type: "json_schema", json_schema: { schema: format as JsonObject } },
  };
}

/** Ollama's calls have no ids: results belong to the calls before them, in order. */
function readMessages(messages: NonNullable<z.output<typeof ollamaChatRequest>["messages"]>): MessageBody[] {
  const open: string[] = [];
  return messages.map(({ role, content, thinking, tool_calls: calls }, i): MessageBody => {
    if (role === "tool") return { role, content: content ?? "", tool_call_id: open.shift() ?? null };
    if (role !== "assistant") return { role, content: content ?? "" };
    return {
      role,
      content: content ?? "",
      ...(thinking && { reasoning_content: thinking }),
      ...(calls &&
        calls.length > 0 && {
          tool_calls: calls.map((one, at) => {
            const id = `call_${i}_${at}`;
            open.push(id);
            return { id, type: "function" as const, function: { name: one.function.name, arguments: one.function.arguments } };
          }),
        }),
    };
  });
}

type Spell = (text: string, thinking: string, calls: readonly object[]) => object;

async function answer(work: Work, stream: boolean, spell: Spell): Promise<Response> {
  const calls: { name: string; arguments: string }[] = [];
  const take = (deltas: readonly Delta[]) => {
    let [text, thinking] = ["", ""];
    for (const delta of deltas) {
      if (delta.kind === "content") text += delta.text;
      else if (delta.kind === "reasoning") thinking += delta.text;
      else if (delta.kind === "call") calls.push({ name: delta.name, arguments: "" });
      else (calls[delta.index] as (typeof calls)[number]).arguments += delta.text;
    }
    return { text, thinking };
  };
  const spelledCalls = () => calls.map((one) => ({ function: { name: one.name, arguments: readArguments(one.arguments) } }));
  const head = () => ({ model: work.model.name, created_at: new Date().toISOString() });
  if (!stream) {
    const whole = await work.whole(async () => {
      let [text, thinking] = ["", ""];
      for await (const { batch } of work.batches()) {
        const taken = take(batch.deltas);
        text += taken.text;
        thinking += taken.thinking;
      }
      const [finish] = await work.finishes();
      return { ...head(), ...spell(text, thinking, spelledCalls()), ...ending(finish as Finish) };
    });
    return Response.json(whole);
  }
  const line = (data: object) => `${JSON.stringify(data)}\n`;
  const spelling: Spelling = {
    begin: () => "",
    batch(_, { deltas }) {
      const { text, thinking } = take(deltas);
      return text === "" && thinking === "" ? "" : line({ ...head(), ...spell(text, thinking, []), done: false });
    },
    end([finish]) {
      const made = calls.length > 0 ? line({ ...head(), ...spell("", "", spelledCalls()), done: false }) : "";
      return made + line({ ...head(), ...spell("", "", []), ...ending(finish as Finish) });
    },
    failed: ({ error }) => line({ error: error.message }),
  };
  return work.stream(spelling, { headers: { "content-type": "application/x-ndjson", "cache-control": "no-cache" } });
}

function readArguments(text: string): JsonObject {
  try {
    const value = parseJson(text.trim() === "" ? "{}" : text, { source: "a call", unsafeIntegers: "round" });
    return isJsonObject(value) ? value : { value };
  } catch (error) {
    if (error instanceof FormatError) return { text };
    throw error;
  }
}

function ending({ reason, promptTokens, completionTokens, promptSeconds, decodeSeconds }: Finish): object {
  const nanoseconds = (seconds: number) => Math.round(seconds * 1e9);
  return {
    done: true,
    done_reason: reason === "length" ? "length" : "stop",
    total_duration: nanoseconds(promptSeconds + decodeSeconds),
    load_duration: 0,
    prompt_eval_count: promptTokens,
    prompt_eval_duration: nanoseconds(promptSeconds),
    eval_count: completionTokens,
    eval_duration: nanoseconds(decodeSeconds),
  };
}

/** A request without anything to answer loads the model, as Ollama's does. */
async function loadOnly(call: Call, model: string, spell: (done: object) => object): Promise<Response> {
  const loan = await call.server.shelf.borrow(nameOf(call, model), call.request.signal);
  loan.giveBack();
  call.account?.settle("succeeded", "load");
  return Response.json({ model: loan.model.name, created_at: new Date().toISOString(), ...spell({ done: true, done_reason: "load" }) });
}

/** Ollama's clients add `:latest` to a name without a tag. */
function nameOf({ server }: Call, model: string): string {
  const plain = model.replace(/:latest$/, "");
  return server.shelf.entries.some(({ name }) => name === model) ? model : plain;
}

function describe({ name, bytes, created }: ModelEntry, loaded: ServedModel | undefined): object {
  return {
    name,
    model: name,
    modified_at: new Date(created * 1000).toISOString(),
    size: bytes,
    digest: "",
    details: {
      parent_model: "",
      format: "safetensors",
      family: loaded?.engine.model.modelType ?? "",
      families: loaded ? [loaded.engine.model.modelType] : [],
      parameter_size: loaded ? `${(loaded.engine.model.parameterCount.total / 1e6).toFixed(1)}M` : "",
      quantization_level: "",
    },
  };
}

export function ollamaTags({ server: { shelf } }: Call): Response {
  return Response.json({
    models: shelf.entries.map((entry) =>
      describe(
        entry,
        shelf.loaded.find(({ name }) => name === entry.name),
      ),
    ),
  });
}

export function ollamaRunning({ server: { shelf } }: Call): Response {
  const models = shelf.loaded.map((model) => ({ ...describe(shelf.find(model.name), model), size_vram: 0 }));
  return Response.json({ models });
}

export async function ollamaShow(call: Call<z.output<typeof ollamaShowRequest>>): Promise<Response> {
  const { body, server } = call;
  const asked = body.model ?? body.name;
  if (!asked) throw badField("model", "nothing", "the name of a model");
  const entry = server.shelf.find(nameOf(call, asked));
  const loan = await server.shelf.borrow(entry.name, call.request.signal);
  try {
    const { engine, chat, tokenizer, thinkTags } = loan.model;
    const { model } = engine;
    return Response.json({
      modelfile: "",
      parameters: "",
      template: "",
      details: (describe(entry, loan.model) as { details: object }).details,
      model_info: {
        "general.architecture": model.modelType,
        "general.parameter_count": model.parameterCount.total,
        [`${model.modelType}.context_length`]: engine.contextLength,
        "tokenizer.ggml.tokens": null,
        "gradually.vocab_size": tokenizer.vocabSize,
      },
      capabilities: ["completion", ...(chat.toolStyle ? ["tools"] : []), ...(thinkTags ? ["thinking"] : [])],
      modified_at: new Date(entry.created * 1000).toISOString(),
    });
  } finally {
    loan.giveBack();
  }
}

export function ollamaVersion({ server }: Call): Response {
  return Response.json({ version: server.version });
}
