// A language model of the AI SDK (LanguageModelV4) without a server: the app's own `fetch`, called in this process. In: an app and the name of one of its
// models. Out: an object that generateText, streamText and the others take. Prompts become OpenAI's messages; what this server cannot
// do (files, tools of other providers) is told as a warning or refused by it.

import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4Content,
  LanguageModelV4FinishReason,
  LanguageModelV4Message,
  LanguageModelV4StreamPart,
  LanguageModelV4Usage,
  SharedV4Warning,
} from "@ai-sdk/provider";
import { RequestError } from "../core/errors.ts";
import type { App } from "./app.ts";

type Usage = {
  prompt_tokens: number;
  completion_tokens: number;
  completion_tokens_details: { reasoning_tokens: number };
  prompt_tokens_details: { cached_tokens: number };
};
type ToolDelta = { index: number; id?: string; function: { name?: string; arguments?: string } };
type Delta = { content?: string | null; reasoning_content?: string; tool_calls?: ToolDelta[] };
type Chunk = {
  id: string;
  created: number;
  model: string;
  choices: { delta: Delta; finish_reason: string | null }[];
  usage?: Usage | null;
  error?: { message: string };
};

/** Throws nothing; errors come from the calls: RequestError with the server's message. */
export function languageModel(app: Pick<App, "fetch">, modelId: string): LanguageModelV4 {
  const start = async (options: LanguageModelV4CallOptions): Promise<Response> => {
    const body = { model: modelId, stream: true, stream_options: { include_usage: true }, ...bodyOf(options) };
    const response = await app.fetch(
      new Request("http://localhost/v1/chat/completions", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: options.abortSignal,
      }),
    );
    if (response.status === 200) return response;
    const { error } = (await response.json()) as { error: { message: string } };
    throw refusal(error.message);
  };
  const stream = async (options: LanguageModelV4CallOptions) => partsOf(chunksOf(await start(options)), options);
  return {
    specificationVersion: "v4",
    provider: "gradually",
    modelId,
    supportedUrls: {},
    async doStream(options) {
      const parts = await stream(options);
      return {
        stream: new ReadableStream<LanguageModelV4StreamPart>({
          async pull(controller) {
            const { done, value } = await parts.next();
            if (done) controller.close();
            else controller.enqueue(value);
          },
          async cancel() {
            await parts.return(undefined);
          },
        }),
      };
    },
    async doGenerate(options) {
      return await gather(await stream(options));
    },
  };
}

function refusal(message: string): RequestError {
  return new RequestError({
    operation: "language model",
    got: message,
    expected: "a request that can be served",
    cure: "change it as it says",
  });
}

async function gather(parts: AsyncIterable<LanguageModelV4StreamPart>): Promise<Awaited<ReturnType<LanguageModelV4["doGenerate"]>>> {
  const content: LanguageModelV4Content[] = [];
  const open = new Map<string, { type: "text" | "reasoning"; text: string }>();
  let warnings: SharedV4Warning[] = [];
  let end: { usage: LanguageModelV4Usage; finishReason: LanguageModelV4FinishReason } | undefined;
  for await (const part of parts) {
    if (part.type === "text-start" || part.type === "reasoning-start") {
      const block = { type: part.type === "text-start" ? ("text" as const) : ("reasoning" as const), text: "" };
      open.set(part.id, block);
      content.push(block);
    } else if (part.type === "text-delta" || part.type === "reasoning-delta") {
      const block = open.get(part.id);
      if (block) block.text += part.delta;
    } else if (part.type === "tool-call") content.push(part);
    else if (part.type === "stream-start") warnings = part.warnings;
    else if (part.type === "finish") end = part;
    else if (part.type === "error") throw part.error;
  }
  if (!end) throw refusal("an answer without an end");
  return { content, finishReason: end.finishReason, usage: end.usage, warnings };
}

/** The chunks of server-sent events. */
async function* chunksOf(response: Response): AsyncGenerator<Chunk> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      held += decoder.decode(value, { stream: true });
      const events = held.split("\n\n");
      held = events.pop() ?? "";
      for (const event of events) if (event.startsWith("data: {")) yield JSON.parse(event.slice(6)) as Chunk;
    }
  } finally {
    await reader.cancel();
  }
}

async function* partsOf(chunks: AsyncIterable<Chunk>, options: LanguageModelV4CallOptions): AsyncGenerator<LanguageModelV4StreamPart> {
  yield { type: "stream-start", warnings: warningsOf(options) };
  let open: { kind: "text" | "reasoning"; id: string } | undefined;
  let count = 0;
  const calls: { id: string; name: string; input: string }[] = [];
  let reason: string | undefined;
  let usage: Usage | undefined;
  let isFirst = true;
  const close = (): LanguageModelV4StreamPart[] => {
    const ended = open ? [{ type: `${open.kind}-end` as const, id: open.id }] : [];
    open = undefined;
    return ended;
  };
  for await (const chunk of chunks) {
    if (chunk.error) {
      yield { type: "error", error: refusal(chunk.error.message) };
      return;
    }
    if (isFirst) yield { type: "response-metadata", id: chunk.id, timestamp: new Date(chunk.created * 1000), modelId: chunk.model };
    isFirst = false;
    usage = chunk.usage ?? usage;
    const [choice] = chunk.choices;
    if (!choice) continue;
    reason = choice.finish_reason ?? reason;
    const { reasoning_content: reasoning, content, tool_calls: deltas = [] } = choice.delta;
    for (const [kind, text] of [
      ["reasoning", reasoning],
      ["text", content],
    ] as const) {
      if (!text) continue;
      if (open?.kind !== kind) {
        yield* close();
        open = { kind, id: `${kind}-${count++}` };
        yield { type: `${kind}-start`, id: open.id };
      }
      yield { type: `${kind}-delta`, id: open.id, delta: text };
    }
    for (const delta of deltas) {
      yield* close();
      if (delta.id !== undefined) {
        yield* endCall(calls.at(-1));
        calls.push({ id: delta.id, name: delta.function.name ?? "", input: "" });
        yield { type: "tool-input-start", id: delta.id, toolName: delta.function.name ?? "" };
      }
      const call = calls.at(-1);
      if (!call || !delta.function.arguments) continue;
      call.input += delta.function.arguments;
      yield { type: "tool-input-delta", id: call.id, delta: delta.function.arguments };
    }
  }
  yield* close();
  if (reason === undefined) {
    // Only a signal ends an answer without a reason.
    yield { type: "error", error: options.abortSignal?.reason ?? refusal("an answer without an end") };
    return;
  }
  yield* endCall(calls.at(-1));
  yield { type: "finish", usage: usageOf(usage), finishReason: reasonOf(reason) };
}

function endCall(call: { id: string; name: string; input: string } | undefined): LanguageModelV4StreamPart[] {
  if (!call) return [];
  return [
    { type: "tool-input-end", id: call.id },
    { type: "tool-call", toolCallId: call.id, toolName: call.name, input: call.input },
  ];
}

function reasonOf(raw: string | undefined): LanguageModelV4FinishReason {
  const unified = raw === "stop" || raw === "length" ? raw : raw === "tool_calls" ? "tool-calls" : "other";
  return { unified, raw };
}

function usageOf(usage: Usage | undefined): LanguageModelV4Usage {
  const cached = usage?.prompt_tokens_details.cached_tokens;
  const reasoning = usage?.completion_tokens_details.reasoning_tokens;
  return {
    inputTokens: {
      total: usage?.prompt_tokens,
      noCache: usage && usage.prompt_tokens - (cached ?? 0),
      cacheRead: cached,
      cacheWrite: undefined,
    },
    outputTokens: { total: usage?.completion_tokens, text: usage && usage.completion_tokens - (reasoning ?? 0), reasoning },
  };
}

function warningsOf({ tools = [] }: LanguageModelV4CallOptions): SharedV4Warning[] {
  return tools.flatMap((tool) => (tool.type === "function" ? [] : [{ type: "unsupported" as const, feature: `provider tool ${tool.id}` }]));
}

function bodyOf(options: LanguageModelV4CallOptions): object {
  const { responseFormat: format, toolChoice: choice, reasoning } = options;
  const tools = (options.tools ?? []).flatMap((tool) =>
    tool.type === "function"
      ? [{ type: "function", function: { name: tool.name, description: tool.description, parameters: tool.inputSchema } }]
      : [],
  );
  return {
    messages: options.prompt.flatMap(messagesOf),
    max_tokens: options.maxOutputTokens,
    temperature: options.temperature,
    top_p: options.topP,
    top_k: options.topK,
    presence_penalty: options.presencePenalty,
    frequency_penalty: options.frequencyPenalty,
    stop: options.stopSequences?.length ? options.stopSequences : undefined,
    seed: options.seed,
    ...(tools.length > 0 && { tools }),
    ...(choice && { tool_choice: choice.type === "tool" ? { type: "function", function: { name: choice.toolName } } : choice.type }),
    ...(format?.type === "json" && {
      response_format: format.schema
        ? { type: "json_schema", json_schema: { name: format.name ?? "answer", schema: format.schema } }
        : { type: "json_object" },
    }),
    ...(reasoning !== undefined && reasoning !== "provider-default" && { reasoning_effort: reasoning }),
  };
}

function messagesOf(message: LanguageModelV4Message): object[] {
  if (message.role === "system") return [{ role: "system", content: message.content }];
  // Parts that are no text go on as they are: the server says by name what it does not read.
  if (message.role === "user")
    return [{ role: "user", content: message.content.map((part) => (part.type === "text" ? textPart(part.text) : { type: part.type })) }];
  if (message.role === "tool") {
    return message.content.flatMap((part) => {
      if (part.type !== "tool-result") return [];
      const { output } = part;
      const content = "value" in output ? (typeof output.value === "string" ? output.value : JSON.stringify(output.value)) : "denied";
      return [{ role: "tool", tool_call_id: part.toolCallId, content }];
    });
  }
  const texts = message.content.flatMap((part) => (part.type === "text" ? [part.text] : []));
  const thoughts = message.content.flatMap((part) => (part.type === "reasoning" ? [part.text] : []));
  const calls = message.content.flatMap((part) =>
    part.type === "tool-call"
      ? [{ id: part.toolCallId, type: "function", function: { name: part.toolName, arguments: JSON.stringify(part.input ?? {}) } }]
      : [],
  );
  return [
    {
      role: "assistant",
      content: texts.length > 0 || calls.length === 0 ? texts.join("") : null,
      ...(thoughts.length > 0 && { reasoning_content: thoughts.join("") }),
      ...(calls.length > 0 && { tool_calls: calls }),
    },
  ];
}

function textPart(text: string): object {
  return { type: "text", text };
}
