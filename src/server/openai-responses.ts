// POST /v1/responses: the subset of OpenAI's newer API that is text, reasoning and functions. In: its request. Out: a response object, or its numbered
// events. Nothing is stored: previous_response_id and the like are refused.

import { z } from "zod";
import { withDefaults } from "../chat/sampling-defaults.ts";
import { type Block, type BlockEvent, Blocks } from "./blocks.ts";
import { type Call, newId, unixTime } from "./call.ts";
import { prepareChat } from "./chat-job.ts";
import { event } from "./event-stream.ts";
import type { Finish } from "./generation.ts";
import { readJob } from "./openai-chat.ts";
import { readItems, responseItem } from "./response-items.ts";
import { anyObject, efforts, fraction, integer, maxTokens, number, thinkingFields } from "./schema-parts.ts";
import type { ChatRequest } from "./schemas.ts";
import { type Spelling, Work } from "./work.ts";

const storesNothing = "Invalid input: expected nothing: this server stores no responses";

export const responsesRequest = z.object({
  model: z.string().max(256).nullish(),
  input: z.union([z.string(), z.array(responseItem).min(1)]),
  instructions: z.string().nullish(),
  max_output_tokens: maxTokens.nullish(),
  temperature: number(0, 2).nullish(),
  top_p: fraction.nullish(),
  stream: z.boolean().nullish(),
  reasoning: z
    .object({ effort: z.enum(efforts).nullish(), summary: z.string().nullish(), max_tokens: integer(0, 2_147_483_647).nullish() })
    .nullish(),
  text: z
    .object({
      format: z
        .discriminatedUnion("type", [
          z.object({ type: z.literal("text") }),
          z.object({ type: z.literal("json_object") }),
          z.object({
            type: z.literal("json_schema"),
            name: z.string().max(64).nullish(),
            schema: anyObject,
            strict: z.boolean().nullish(),
          }),
        ])
        .nullish(),
    })
    .nullish(),
  tools: z
    .array(
      z.looseObject({
        type: z.literal("function", "Invalid input: expected functions only"),
        name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, "letters, digits, _ and -, at most 64"),
        description: z.string().nullish(),
        parameters: anyObject.nullish(),
      }),
    )
    .nullish(),
  tool_choice: z.union([z.enum(["none", "auto", "required"]), z.object({ type: z.literal("function"), name: z.string() })]).nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  previous_response_id: z.null(storesNothing).optional(),
  conversation: z.null(storesNothing).optional(),
  prompt: z.null(storesNothing).optional(),
  background: z.literal(false, storesNothing).nullish(),
  metadata: anyObject.nullish(),
  user: z.string().max(1024).nullish(),
  chat_template_kwargs: thinkingFields.chat_template_kwargs,
});
export type ResponsesRequest = z.output<typeof responsesRequest>;

export async function responses(call: Call<ResponsesRequest>): Promise<Response> {
  const { body } = call;
  const asked = asChat(body);
  const work = await Work.start(call, body.model, (model) =>
    prepareChat(model, { ...readJob(call, asked, model), messagesField: "input" }),
  );
  // What the model's own settings say where the request is silent.
  const { temperature, topP } = withDefaults(
    { temperature: body.temperature ?? undefined, topP: body.top_p ?? undefined },
    work.model.generationConfig,
  );
  const head = { id: newId("resp_"), object: "response", created_at: unixTime(), model: work.model.name, temperature, top_p: topP ?? 1 };
  if (body.stream) return work.stream(events(body, head), { comment: ": keep-alive\n\n" });
  const whole = await work.whole(async () => {
    const blocks = new Blocks();
    for await (const { batch } of work.batches()) blocks.push(batch.deltas);
    const [finish] = await work.finishes();
    return finished(
      body,
      head,
      blocks.all.map((block) => spell(block, newItemId(block), finish)),
      finish as Finish,
    );
  });
  return Response.json(whole);
}

/** The fields that every response object has. */
function frame(body: ResponsesRequest, head: object): object {
  return {
    ...head,
    background: false,
    completed_at: null,
    error: null,
    frequency_penalty: 0,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: null,
    metadata: body.metadata ?? {},
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    presence_penalty: 0,
    previous_response_id: null,
    prompt_cache_key: null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    safety_identifier: null,
    service_tier: "default",
    store: false,
    text: { format: body.text?.format ?? { type: "text" } },
    tool_choice: body.tool_choice ?? "auto",
    tools: (body.tools ?? []).map((tool) => ({ description: null, parameters: null, strict: null, ...tool })),
    top_logprobs: 0,
    truncation: "disabled",
    usage: null,
    user: body.user ?? null,
  };
}

function finished(body: ResponsesRequest, head: object, output: readonly object[], finish: Finish): object {
  const isCut = finish.reason === "length";
  const text = (output as readonly { type: string; content?: readonly { text: string }[] }[])
    .filter(({ type }) => type === "message")
    .map((one) => one.content?.[0]?.text ?? "")
    .join("");
  return {
    ...frame(body, head),
    status: isCut ? "incomplete" : "completed",
    completed_at: isCut ? null : unixTime(),
    incomplete_details: isCut ? { reason: "max_output_tokens" } : null,
    output,
    output_text: text,
    usage: {
      input_tokens: finish.promptTokens,
      input_tokens_details: { cached_tokens: finish.cachedTokens },
      output_tokens: finish.completionTokens,
      output_tokens_details: { reasoning_tokens: finish.reasoningTokens },
      total_tokens: finish.promptTokens + finish.completionTokens,
    },
  };
}

function newItemId({ kind }: Block): string {
  return newId(kind === "text" ? "msg_" : kind === "reasoning" ? "rs_" : "fc_");
}

/** An output item; without `finish` it is under way. */
function spell({ kind, text, name }: Block, id: string, finish?: Finish): object {
  const status = finish ? (finish.reason === "length" ? "incomplete" : "completed") : "in_progress";
  if (kind === "reasoning")
    return { id, type: "reasoning", summary: [], content: finish ? [{ type: "reasoning_text", text }] : [], status };
  if (kind === "call") return { id, type: "function_call", call_id: id.replace(/^fc_/, "call_"), name, arguments: text, status };
  return { id, type: "message", status, role: "assistant", content: finish ? [textPart(text)] : [] };
}

function textPart(text: string): object {
  return { type: "output_text", text, annotations: [], logprobs: [] };
}

function events(body: ResponsesRequest, head: object): Spelling {
  let number = 0;
  const send = (type: string, data: object) => event({ type, sequence_number: number++, ...data }, type);
  const blocks = new Blocks();
  const ids: string[] = [];
  const done: Finish = {
    reason: "stop",
    promptTokens: 0,
    cachedTokens: 0,
    completionTokens: 0,
    reasoningTokens: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
    seed: 0,
    promptSeconds: 0,
    decodeSeconds: 0,
  };
  const spellEvent = (one: BlockEvent, finish: Finish = done): string => {
    const { block } = one;
    ids[block.index] ??= newItemId(block);
    const place = { item_id: ids[block.index] as string, output_index: block.index };
    const within = { ...place, content_index: 0 };
    const { kind, text } = block;
    if (one.type === "open") {
      // The block may have text by now; readers add the deltas to what the item begins with.
      const item = spell({ ...block, text: "" }, place.item_id);
      const added = send("response.output_item.added", { output_index: block.index, item });
      if (kind === "call") return added;
      const opened = kind === "text" ? textPart("") : { type: "reasoning_text", text: "" };
      return added + send("response.content_part.added", { ...within, part: opened });
    }
    if (one.type === "delta") {
      if (kind === "call") return send("response.function_call_arguments.delta", { ...place, delta: one.text });
      if (kind === "reasoning") return send("response.reasoning_text.delta", { ...within, delta: one.text });
      return send("response.output_text.delta", { ...within, delta: one.text, logprobs: [] });
    }
    const ended =
      kind === "call"
        ? send("response.function_call_arguments.done", { ...place, name: block.name, arguments: text })
        : kind === "reasoning"
          ? send("response.reasoning_text.done", { ...within, text }) +
            send("response.content_part.done", { ...within, part: { type: "reasoning_text", text } })
          : send("response.output_text.done", { ...within, text, logprobs: [] }) +
            send("response.content_part.done", { ...within, part: textPart(text) });
    return ended + send("response.output_item.done", { output_index: block.index, item: spell(block, place.item_id, finish) });
  };
  return {
    begin() {
      const opening = { ...frame(body, head), status: "in_progress", output: [] };
      return send("response.created", { response: opening }) + send("response.in_progress", { response: opening });
    },
    batch: (_, { deltas }) =>
      blocks
        .push(deltas)
        .map((one) => spellEvent(one))
        .join(""),
    end(finishes) {
      const finish = finishes[0] as Finish;
      const closing = blocks
        .end()
        .map((one) => spellEvent(one, finish))
        .join("");
      const output = blocks.all.map((block) => spell(block, ids[block.index] as string, finish));
      const type = finish.reason === "length" ? "response.incomplete" : "response.completed";
      return closing + send(type, { response: finished(body, head, output, finish) });
    },
    failed: ({ error }) => send("error", { code: error.code ?? error.type, message: error.message, param: error.param }),
  };
}

/** The same request in the words of chat completions. */
function asChat(body: ResponsesRequest): ChatRequest {
  const { input, instructions, tool_choice: choice } = body;
  const format = body.text?.format;
  const messages = typeof input === "string" ? [{ role: "user" as const, content: input }] : readItems(input);
  return {
    model: body.model,
    messages: [...(instructions ? [{ role: "system" as const, content: instructions }] : []), ...messages],
    max_tokens: body.max_output_tokens,
    temperature: body.temperature,
    top_p: body.top_p,
    reasoning: body.reasoning,
    chat_template_kwargs: body.chat_template_kwargs,
    tools: body.tools?.map(({ name, description, parameters }) => ({
      type: "function" as const,
      function: { name, description, parameters },
    })),
    tool_choice: typeof choice === "object" && choice !== null ? { type: "function", function: { name: choice.name } } : choice,
    response_format: format?.type === "json_schema" ? { type: "json_schema", json_schema: { schema: format.schema } } : format,
  };
}
