// POST /v1/messages: Anthropic's API as a thin adapter. In: its request. Out: its message, or its events. The request becomes one of OpenAI's and takes
// the same way; only the words differ.

import { z } from "zod";
import { FormatError, show } from "../core/errors.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import { type Block, type BlockEvent, Blocks } from "./blocks.ts";
import { type Call, newId } from "./call.ts";
import { prepareChat } from "./chat-job.ts";
import { event } from "./event-stream.ts";
import type { Finish } from "./generation.ts";
import { readJob } from "./openai-chat.ts";
import { badField, errorBody, Refusal, type WireError } from "./refusal.ts";
import { anyObject, effort, fraction, integer, maxTokens, number, thinkingFields } from "./schema-parts.ts";
import type { ChatRequest, MessageBody } from "./schemas.ts";
import { type Spelling, Work } from "./work.ts";

const part = z.looseObject({ type: z.string() });
const content = z.union([z.string(), z.array(part)]);

export const messagesRequest = z.object({
  model: z.string().max(256),
  max_tokens: maxTokens,
  messages: z.array(z.object({ role: z.enum(["user", "assistant", "system"]), content })).min(1),
  system: content.nullish(),
  stop_sequences: z.array(z.string().min(1)).nullish(),
  stream: z.boolean().nullish(),
  temperature: number(0, 1).nullish(),
  top_p: fraction.nullish(),
  top_k: integer(0, 2_147_483_647).nullish(),
  tools: z
    .array(
      z.looseObject({
        type: z.literal("custom", "custom: tools that the caller runs").nullish(),
        name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, "letters, digits, _ and -, at most 64"),
        description: z.string().nullish(),
        input_schema: anyObject.nullish(),
      }),
    )
    .nullish(),
  tool_choice: z.object({ type: z.enum(["auto", "any", "tool", "none"]), name: z.string().nullish() }).nullish(),
  thinking: thinkingFields.thinking,
  output_config: z
    .object({
      effort: effort.nullish(),
      format: z
        .object({ type: z.literal("json_schema"), schema: anyObject })
        .nullish()
        .describe("What the answer must be, after the thinking."),
    })
    .nullish(),
  mcp_servers: z.array(z.unknown()).max(0, "nothing: this server calls no other").nullish(),
  thread: anyObject.nullish().describe("Refused: nothing is stored, each request tells the whole conversation."),
});
export type MessagesRequest = z.output<typeof messagesRequest>;

export const countRequest = messagesRequest.omit({ max_tokens: true }).extend({ max_tokens: maxTokens.nullish() });

export async function messages(call: Call<MessagesRequest>): Promise<Response> {
  const { body } = call;
  const asked = asChat(body);
  const work = await Work.start(call, body.model, (model) => prepareChat(model, readJob(call, asked, model)));
  const id = newId("msg_");
  if (body.stream) return work.stream(events(work, id), { comment: event({ type: "ping" }, "ping") });
  const whole = await work.whole(async () => {
    const blocks = new Blocks();
    for await (const { batch } of work.batches()) blocks.push(batch.deltas);
    const [finish] = await work.finishes();
    return { ...head(id, work), content: blocks.all.map(spell), ...ending(finish as Finish), usage: usage(finish) };
  });
  return Response.json(whole);
}

export async function countTokens(call: Call<z.output<typeof countRequest>>): Promise<Response> {
  const { body, server, request } = call;
  const loan = await server.shelf.borrow(body.model, request.signal);
  try {
    const [prepared] = await prepareChat(loan.model, readJob(call, asChat({ ...body, max_tokens: 1 }), loan.model));
    return Response.json({ input_tokens: prepared?.request.ids.length ?? 0 });
  } finally {
    loan.giveBack();
  }
}

function failure(wire: WireError): string {
  return event(errorBody(wire, "anthropic"), "error");
}

function head(id: string, work: Work): object {
  return { id, type: "message", role: "assistant", model: work.model.name, container: null, diagnostics: null, stop_details: null };
}

function ending({ reason, stopText }: Finish): object {
  const names = { length: "max_tokens", tool_calls: "tool_use", stop: "end_turn" } as const;
  return { stop_reason: stopText === undefined ? names[reason] : "stop_sequence", stop_sequence: stopText ?? null };
}

function usage(finish: Finish | undefined): object {
  const cached = finish?.cachedTokens ?? 0;
  return {
    input_tokens: (finish?.promptTokens ?? 0) - cached,
    output_tokens: finish?.completionTokens ?? 0,
    cache_read_input_tokens: cached,
    cache_creation_input_tokens: 0,
    cache_creation: null,
    inference_geo: null,
    server_tool_use: null,
    service_tier: "standard",
    speed: null,
    output_tokens_details: { thinking_tokens: finish?.reasoningTokens ?? 0 },
  };
}

function spell({ kind, text, name }: Block): object {
  if (kind === "text") return { type: "text", text, citations: null };
  if (kind === "reasoning") return { type: "thinking", thinking: text, signature: "" };
  return { type: "tool_use", id: newId("toolu_"), name, input: readInput(text), caller: { type: "direct" } };
}

/** Anthropic's `input` is an object: what the model wrote, or its text where that is none. */
function readInput(text: string): JsonObject {
  try {
    const value = parseJson(text.trim() === "" ? "{}" : text, { source: "a call", unsafeIntegers: "round" });
    return isJsonObject(value) ? value : { value };
  } catch (error) {
    if (error instanceof FormatError) return { text };
    throw error;
  }
}

function events(work: Work, id: string): Spelling {
  const named = (data: { readonly type: string; readonly [key: string]: unknown }) => event(data, data.type);
  const blocks = new Blocks();
  const spellEvent = (one: BlockEvent): string => {
    const { index, kind } = one.block;
    if (one.type === "close") return named({ type: "content_block_stop", index });
    if (one.type === "open") {
      const opened = kind === "call" ? { ...spell({ ...one.block, text: "" }), input: {} } : spell({ ...one.block, text: "" });
      return named({ type: "content_block_start", index, content_block: opened });
    }
    const delta =
      kind === "text"
        ? { type: "text_delta", text: one.text }
        : kind === "reasoning"
          ? { type: "thinking_delta", thinking: one.text }
          : { type: "input_json_delta", partial_json: one.text };
    return named({ type: "content_block_delta", index, delta });
  };
  return {
    begin() {
      const message = { ...head(id, work), content: [], stop_reason: null, stop_sequence: null, usage: usage(undefined) };
      return named({ type: "message_start", message });
    },
    batch: (_, { deltas }) => blocks.push(deltas).map(spellEvent).join(""),
    end: ([finish]) =>
      blocks.end().map(spellEvent).join("") +
      named({ type: "message_delta", delta: ending(finish as Finish), usage: usage(finish) }) +
      named({ type: "message_stop" }),
    failed: failure,
  };
}

/** The same request in OpenAI's words. */
function asChat(body: MessagesRequest): ChatRequest {
  const { system, tool_choice: choice, output_config: output } = body;
  if (body.thread) {
    // By this code a client knows that it is to send everything again.
    throw new Refusal("a thread", "no thread: this server stores no messages", "send the whole conversation", {
      status: 400,
      param: "thread",
      code: "thread_unsupported_request",
    });
  }
  const instructions = system === null || system === undefined ? [] : [{ role: "system" as const, content: textOf(system, "system") }];
  return {
    model: body.model,
    messages: [...instructions, ...body.messages.flatMap((message, i) => readMessage(message, `messages[${i}]`))],
    max_tokens: body.max_tokens,
    temperature: body.temperature,
    top_p: body.top_p,
    top_k: body.top_k,
    stop: body.stop_sequences,
    thinking: body.thinking,
    output_config: output,
    ...(output?.format && { response_format: { type: "json_schema", json_schema: { name: "output", schema: output.format.schema } } }),
    tools: body.tools?.map(({ name, description, input_schema }) => ({
      type: "function" as const,
      function: { name, description, parameters: input_schema },
    })),
    tool_choice: !choice
      ? undefined
      : choice.type === "tool"
        ? { type: "function", function: { name: choice.name ?? "" } }
        : choice.type === "any"
          ? "required"
          : choice.type,
  };
}

type PartBody = z.output<typeof part>;

function textOf(given: string | readonly PartBody[], field: string): string {
  if (typeof given === "string") return given;
  return given
    .map((one, i) => {
      if (one.type === "text" && typeof one.text === "string") return one.text;
      if (one.type === "text") throw badField(`${field}[${i}].text`, show(one.text), "a text", "write it, or leave the part out");
      throw badField(`${field}[${i}].type`, `a part of type ${JSON.stringify(one.type.slice(0, 40))}`, "text", "leave the part out");
    })
    .join("\n");
}

/** A name or id of a part, which it must have. */
function nameIn(one: PartBody, key: string, field: string): string {
  const value = one[key];
  if (typeof value === "string" && value !== "" && value.length <= 256) return value;
  throw badField(`${field}.${key}`, show(value), "a text of 1 to 256 characters");
}

/** One message may hold results of tools and text: these are messages of their own in OpenAI's form. */
function readMessage({ role, content: given }: MessagesRequest["messages"][number], field: string): MessageBody[] {
  if (typeof given === "string") return [{ role, content: given }];
  const results: MessageBody[] = [];
  const texts: PartBody[] = [];
  const calls: NonNullable<MessageBody["tool_calls"]> = [];
  let reasoning = "";
  for (const [i, one] of given.entries()) {
    const at = `${field}.content[${i}]`;
    if (one.type === "tool_result" && role === "user") {
      const text = one.content === undefined || one.content === null ? "" : textOf(one.content as string | PartBody[], `${at}.content`);
      results.push({ role: "tool", content: text, tool_call_id: nameIn(one, "tool_use_id", at) });
    } else if (one.type === "tool_use" && role === "assistant") {
      const input = isJsonObject(one.input as JsonObject) ? (one.input as JsonObject) : {};
      const call = { name: nameIn(one, "name", at), arguments: input };
      calls.push({ id: nameIn(one, "id", at), type: "function", function: call });
    } else if (one.type === "thinking") reasoning += typeof one.thinking === "string" ? one.thinking : "";
    else if (one.type !== "redacted_thinking") texts.push(one);
  }
  const text = textOf(texts, `${field}.content`);
  const own: MessageBody = {
    role,
    content: texts.length > 0 ? text : calls.length > 0 ? null : "",
    ...(reasoning !== "" && { reasoning_content: reasoning }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
  return texts.length > 0 || calls.length > 0 || results.length === 0 ? [...results, own] : results;
}
