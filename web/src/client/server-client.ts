// A model behind `gradually serve`, over its OpenAI-compatible API, and the run folders beside it. In: what client.ts says. Out: the same.
// Answers stream; when the reader leaves, the request is cut and the server stops within a token.

import { type Ask, type Client, ClientError, type ModelInfo, type Piece, type RunsClient, type Usage } from "./client.ts";
import { readEvents } from "./event-reader.ts";
import { json, messageIn, request } from "./http.ts";

type WireModel = { readonly id: string; readonly max_model_len?: number; readonly thinks?: boolean; readonly solves?: boolean };

export function serverClient(): Client {
  return { place: "server", models, ask, runs };
}

async function models(): Promise<ModelInfo[]> {
  const { data } = (await json("v1/models")) as { data: WireModel[] };
  return data.map(({ id, max_model_len, thinks, solves }) => ({
    name: id,
    ...(max_model_len !== undefined && { contextLength: max_model_len }),
    ...(thinks !== undefined && { thinks }),
    ...(solves !== undefined && { solves }),
  }));
}

type Chunk = {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null; readonly reasoning?: string | null };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly completion_tokens_details?: { readonly reasoning_tokens?: number };
  } | null;
  readonly timings?: { readonly predicted_per_second?: number };
};

async function* ask(wish: Ask): AsyncGenerator<Piece> {
  const cut = new AbortController();
  const signal = AbortSignal.any([wish.signal, cut.signal]);
  try {
    const response = await request("v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(bodyOf(wish)),
      signal,
    });
    yield* pieces(response.body as ReadableStream<Uint8Array>);
  } catch (error) {
    if (wish.signal.aborted || error instanceof ClientError) throw error;
    throw new ClientError("unreachable", error instanceof Error ? error.message : String(error), { cause: error });
  } finally {
    cut.abort();
  }
}

function bodyOf({ model, turns, sampling, seed, maxTokens, budget, extend }: Ask): object {
  return {
    model,
    messages: turns,
    stream: true,
    stream_options: { include_usage: true },
    seed,
    max_tokens: maxTokens,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    min_p: sampling.minP,
    repetition_penalty: sampling.repetitionPenalty,
    ...(budget === 0 ? { enable_thinking: false } : { thinking_budget: budget }),
    ...(extend ? { thinking_extend: extend } : {}),
  };
}

async function* pieces(body: ReadableStream<Uint8Array>): AsyncGenerator<Piece> {
  let reason: "stop" | "length" | undefined;
  let usage: Usage | undefined;
  let speed = 0;
  for await (const data of readEvents(body)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data) as Chunk;
    const error = messageIn(chunk);
    if (error !== undefined) throw new ClientError("broken", error);
    const [choice] = chunk.choices ?? [];
    const reasoning = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning;
    if (reasoning) yield { kind: "reasoning", text: reasoning };
    if (choice?.delta?.content) yield { kind: "content", text: choice.delta.content };
    if (choice?.finish_reason) reason = choice.finish_reason === "length" ? "length" : "stop";
    speed = chunk.timings?.predicted_per_second ?? speed;
    if (chunk.usage) {
      const { prompt_tokens, completion_tokens, completion_tokens_details } = chunk.usage;
      usage = {
        promptTokens: prompt_tokens,
        completionTokens: completion_tokens,
        thinkingTokens: completion_tokens_details?.reasoning_tokens ?? 0,
        tokensPerSecond: speed,
      };
    }
  }
  if (reason === undefined) throw new ClientError("unreachable", "the answer broke off");
  yield { kind: "end", reason, ...(usage && { usage }) };
}

const runs: RunsClient = {
  list: async () => (await json("runs")) as Awaited<ReturnType<RunsClient["list"]>>,
  one: async (id) => (await json(`runs/${encodeURIComponent(id)}`)) as Awaited<ReturnType<RunsClient["one"]>>,
  log: async (id, name, from, signal) =>
    (await json(`runs/${encodeURIComponent(id)}/logs/${name}?from=${from}`, signal ? { signal } : {})) as Awaited<
      ReturnType<RunsClient["log"]>
    >,
  file: async (id, name) => await (await request(`runs/${encodeURIComponent(id)}/files/${encodeURIComponent(name)}`)).blob(),
};
