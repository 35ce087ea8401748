// Many requests as one: all are checked before the first is begun, and when one fails the others are cancelled and its error is thrown.

import type { Engine } from "./engine.ts";
import type { GenerationRequest, GenerationResult } from "./request.ts";

export type GenerateProgress = { readonly finished: number; readonly total: number; readonly tokens: number };

export type GenerateOptions = { readonly onProgress?: (progress: GenerateProgress) => void; readonly signal?: AbortSignal };

/** Answers in the order of the requests. */
export async function generateAll(
  engine: Engine,
  requests: readonly GenerationRequest[],
  { onProgress, signal }: GenerateOptions,
): Promise<GenerationResult[]> {
  signal?.throwIfAborted();
  for (const request of requests) engine.check(request);
  const all = requests.map((request) => engine.begin(request));
  const cancelAll = (reason: unknown) => {
    for (const { cancel } of all) cancel(reason);
  };
  const onAbort = () => cancelAll(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  let finished = 0;
  let tokens = 0;
  const told = async (answer: Promise<GenerationResult>): Promise<GenerationResult> => {
    const result = await answer;
    finished++;
    tokens += result.ids.length;
    onProgress?.({ finished, total: requests.length, tokens });
    return result;
  };
  try {
    return await Promise.all(all.map(({ answer }) => told(answer)));
  } catch (error) {
    cancelAll(error);
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}
