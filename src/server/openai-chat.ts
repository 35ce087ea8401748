// POST /v1/chat/completions. In: OpenAI's request. Out: one completion, or chunks: first the role, then reasoning, content and tool calls as they
// come, then finish_reason, then (stream_options) usage with no choices, then [DONE]. An error inside a stream is one event, without [DONE].

import type { z } from "zod";
import type { Delta } from "../chat/delta-writer.ts";
import { type Call, newId, type ReasoningField, unixTime } from "./call.ts";
import { type ChatJob, type JobOptions, prepareChat, readBias, readStops, seedOf, type ToolChoice } from "./chat-job.ts";
import { readConversation, readTools } from "./conversation.ts";
import { event } from "./event-stream.ts";
import type { Batch, TokenLogprob } from "./generation.ts";
import { badField, type WireError } from "./refusal.ts";
import type { ChatRequest, toolChoice } from "./schemas.ts";
import type { ServedModel } from "./shelf.ts";
import { readStructure } from "./structures.ts";
import { readThinking } from "./thinking.ts";
import { timings, usage } from "./usage.ts";
import { type Spelling, Work } from "./work.ts";

export async function chatCompletions(call: Call<ChatRequest>): Promise<Response> {
  const { body, server } = call;
  checkTogether(body);
  const work = await Work.start(call, body.model, (model) => prepareChat(model, readJob(call, body, model)));
  const head = { id: newId("chatcmpl-"), created: unixTime(), model: work.model.name, system_fingerprint: `gradually-${server.version}` };
  if (body.stream) {
    const chunk = { object: "chat.completion.chunk", ...head };
    return work.stream(chunks(work, body, chunk, server.reasoningField), { comment: ": keep-alive\n\n" });
  }
  const whole = await work.whole(async () => {
    const messages = await collect(work, server.reasoningField, body.logprobs === true);
    const finishes = await work.finishes();
    return {
      object: "chat.completion",
      ...head,
      choices: messages.map(({ message, logprobs }, index) => ({
        index,
        message,
        logprobs,
        finish_reason: finishes[index]?.reason ?? "stop",
      })),
      usage: usage(finishes),
      timings: timings(finishes),
    };
  });
  return Response.json(whole);
}

/** An error inside a stream, as OpenAI's library takes it. */
export function failure({ error }: WireError): string {
  return event({ error });
}

function checkTogether(body: ChatRequest): void {
  if (body.stream_options && !body.stream)
    throw badField("stream_options", "stream_options without stream", "stream: true", "leave it out");
  if (body.top_logprobs && !body.logprobs)
    throw badField("top_logprobs", "top_logprobs without logprobs", "logprobs: true", "set logprobs");
}

/** The other dialects bring their requests into this form first. */
export function readJob(call: Call, body: ChatRequest, model: ServedModel): ChatJob {
  const { server } = call;
  const { limits } = server;
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? undefined;
  const tools = readTools(body.tools ?? [], limits);
  return {
    ...readOptions(call, body, model),
    ...(maxTokens !== undefined && { maxTokens }),
    ...(body.logprobs && { logprobs: true }),
    ...(body.top_logprobs && { topLogprobs: body.top_logprobs }),
    messagesField: "messages",
    messages: (style) => readConversation(body.messages, style, limits),
    tools,
    toolChoice: readToolChoice(body.tool_choice),
    wish: readThinking(body),
    templateSwitches: body.chat_template_kwargs,
  };
}

type Common = Pick<
  ChatRequest,
  | "n"
  | "temperature"
  | "top_p"
  | "top_k"
  | "min_p"
  | "typical_p"
  | "repetition_penalty"
  | "presence_penalty"
  | "frequency_penalty"
  | "logit_bias"
  | "seed"
  | "stop"
  | "ignore_eos"
  | "stop_token_ids"
  | "response_format"
  | "structured_outputs"
>;

/** The fields of sampling that all of OpenAI's requests share. */
export function readOptions({ server, caller }: Call, body: Common, model: ServedModel): JobOptions {
  const n = body.n ?? 1;
  if (n > server.limits.sequences) throw badField("n", String(n), `1 to ${server.limits.sequences}`);
  const seed = seedOf(body.seed);
  const { vocabSize } = model.engine.model;
  const logitBias = readBias(body.logit_bias, vocabSize);
  const structure = readStructure(body, server.limits.schemaBytes);
  const stopIds = body.stop_token_ids ?? [];
  const wrong = stopIds.findIndex((id) => id >= vocabSize);
  if (wrong >= 0)
    throw badField(`stop_token_ids[${wrong}]`, String(stopIds[wrong]), `ids from 0 to ${vocabSize - 1}`, "use this model's tokenizer");
  return {
    n,
    ...(structure && { structure }),
    ...(stopIds.length > 0 && { stopIds }),
    stops: readStops(body.stop, server.limits),
    ...(body.ignore_eos && { ignoreEos: true }),
    // A salt of its own shares with nobody.
    cacheSalt: server.sharePrefixes ? caller.salt : newId(""),
    sampling: {
      temperature: body.temperature ?? undefined,
      topP: body.top_p ?? undefined,
      topK: body.top_k === null || body.top_k === undefined ? undefined : Math.max(0, body.top_k),
      minP: body.min_p ?? undefined,
      typicalP: body.typical_p ?? undefined,
      repetitionPenalty: body.repetition_penalty ?? undefined,
      presencePenalty: body.presence_penalty ?? undefined,
      frequencyPenalty: body.frequency_penalty ?? undefined,
      ...(logitBias && { logitBias }),
      ...(seed !== undefined && { seed }),
    },
  };
}

export function readToolChoice(choice: z.output<typeof toolChoice> | null | undefined): ToolChoice {
  if (choice === null || choice === undefined) return "auto";
  return typeof choice === "string" ? choice : { name: choice.function.name };
}

function chunks(work: Work, body: ChatRequest, head: object, field: ReasoningField): Spelling {
  const withUsage = body.stream_options?.include_usage === true;
  // Most of a chunk is the same in all of them.
  const opening = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[{"index":`;
  const closing = withUsage ? `}],"usage":null` : "}]";
  const chunk = (index: number, delta: object, logprobs: object | null = null, reason: string | null = null, more = "") =>
    `${opening}${index},"delta":${JSON.stringify(delta)},"logprobs":${logprobs && JSON.stringify(logprobs)},"finish_reason":${reason && `"${reason}"`}${closing}${more}}\n\n`;
  const calls = work.answers.map(() => new Map<number, string>());
  return {
    begin: () => work.answers.map((_, index) => chunk(index, { role: "assistant", content: "" })).join(""),
    batch(index, batch) {
      let logprobs = body.logprobs === true ? spellLogprobs(batch) : null;
      let text = "";
      for (const delta of batch.deltas) {
        text += chunk(index, spellDelta(delta, field, calls[index] as Map<number, string>), logprobs);
        logprobs = null;
      }
      return logprobs ? text + chunk(index, {}, logprobs) : text;
    },
    end(finishes) {
      let text = "";
      for (const [index, { reason }] of finishes.entries()) {
        const isLast = index === finishes.length - 1;
        text += chunk(index, {}, null, reason, isLast ? `,"timings":${JSON.stringify(timings(finishes))}` : "");
      }
      if (withUsage) text += event({ ...head, choices: [], usage: usage(finishes) });
      return `${text}data: [DONE]\n\n`;
    },
    failed: failure,
  };
}

function spellDelta(delta: Delta, field: ReasoningField, ids: Map<number, string>): object {
  if (delta.kind === "content") return { content: delta.text };
  if (delta.kind === "reasoning") return reasoningOf(delta.text, field);
  if (delta.kind === "arguments") return { tool_calls: [{ index: delta.index, function: { arguments: delta.text } }] };
  const id = newId("call_");
  ids.set(delta.index, id);
  return { tool_calls: [{ index: delta.index, id, type: "function", function: { name: delta.name, arguments: "" } }] };
}

export function reasoningOf(text: string, field: ReasoningField): object {
  return {
    ...(field !== "reasoning" && { reasoning_content: text }),
    ...(field !== "reasoning_content" && { reasoning: text }),
  };
}

function spellLogprobs({ logprobs, reasoningLogprobs }: Pick<Batch, "logprobs" | "reasoningLogprobs">): object {
  const spell = ({ top, ...token }: TokenLogprob) => ({ ...token, top_logprobs: top });
  return {
    content: logprobs.map(spell),
    refusal: null,
    ...(reasoningLogprobs.length > 0 && { reasoning_content: reasoningLogprobs.map(spell) }),
  };
}

export type Collected = {
  reasoning: string;
  content: string;
  calls: { id: string; name: string; arguments: string }[];
  logprobs: TokenLogprob[];
  reasoningLogprobs: TokenLogprob[];
};

/** Reads all answers to their ends. */
export async function collectAll(work: Work): Promise<Collected[]> {
  const all = work.answers.map((): Collected => ({ reasoning: "", content: "", calls: [], logprobs: [], reasoningLogprobs: [] }));
  for await (const { index, batch } of work.batches()) {
    const one = all[index] as Collected;
    for (const delta of batch.deltas) {
      if (delta.kind === "content" || delta.kind === "reasoning") one[delta.kind] += delta.text;
      else if (delta.kind === "call") one.calls.push({ id: newId("call_"), name: delta.name, arguments: "" });
      else (one.calls[delta.index] as Collected["calls"][number]).arguments += delta.text;
    }
    one.logprobs.push(...batch.logprobs);
    one.reasoningLogprobs.push(...batch.reasoningLogprobs);
  }
  return all;
}

async function collect(work: Work, field: ReasoningField, withLogprobs: boolean): Promise<{ message: object; logprobs: object | null }[]> {
  return (await collectAll(work)).map(({ reasoning, content, calls, logprobs, reasoningLogprobs }) => ({
    message: {
      role: "assistant",
      content: content === "" && calls.length > 0 ? null : content,
      refusal: null,
      annotations: [],
      ...(reasoning !== "" && reasoningOf(reasoning, field)),
      ...(calls.length > 0 && {
        tool_calls: calls.map((one) => ({ id: one.id, type: "function", function: { name: one.name, arguments: one.arguments } })),
      }),
    },
    logprobs: withLogprobs ? spellLogprobs({ logprobs, reasoningLogprobs }) : null,
  }));
}
