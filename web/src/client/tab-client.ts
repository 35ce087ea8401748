// A model in this tab: the package's browser door, behind the interface of client.ts. In: the model that tab-state.ts opened. Out: the same pieces as
// from a server. Nothing leaves the device.

import { DeviceError, GraduallyError } from "../../../src/core/errors.ts";
import type { ChatOptions, Part } from "../../../src/platform/browser.ts";
import { opened } from "../tab/tab-state.ts";
import { type Ask, type Client, ClientError, type ModelInfo, type Piece } from "./client.ts";

export function tabClient(): Client {
  return { place: "tab", models, ask };
}

async function models(): Promise<ModelInfo[]> {
  const model = opened.value;
  if (!model) return [];
  const thinks = model.thinkTags !== undefined;
  return [{ name: model.name, contextLength: model.contextLength, thinks, solves: thinks && !model.hasTemplate }];
}

async function* ask(wish: Ask): AsyncGenerator<Piece> {
  const model = opened.value;
  if (!model) throw new ClientError("refused", "no model is open");
  try {
    for await (const part of model.respond([...wish.turns], optionsOf(wish))) yield* pieces(part);
  } catch (error) {
    if (wish.signal.aborted) throw error;
    throw explain(error);
  }
}

function optionsOf({ sampling, seed, maxTokens, budget, extend, signal }: Ask): ChatOptions {
  const thinking = {
    ...(budget !== undefined && { max: budget }),
    ...(extend && { extend: { times: extend } }),
  };
  return {
    ...sampling,
    seed,
    signal,
    ...(maxTokens !== undefined && { maxTokens }),
    ...(budget === 0 ? { thinking: false } : Object.keys(thinking).length > 0 && { thinking }),
  };
}

function* pieces({ reasoning, content, statistics }: Part): Generator<Piece> {
  if (reasoning !== "") yield { kind: "reasoning", text: reasoning };
  if (content !== "") yield { kind: "content", text: content };
  if (!statistics) return;
  const { stop, promptTokens, completionTokens, thinkingTokens, generatedPerSecond } = statistics;
  yield {
    kind: "end",
    reason: stop,
    usage: { promptTokens, completionTokens, thinkingTokens, tokensPerSecond: generatedPerSecond },
  };
}

export function explain(error: unknown): ClientError {
  if (error instanceof ClientError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  if (error instanceof DeviceError && /memory|quota|GiB|MiB|bytes/i.test(detail))
    return new ClientError("memory", detail, { cause: error });
  return new ClientError(error instanceof GraduallyError ? "refused" : "broken", detail, { cause: error });
}
