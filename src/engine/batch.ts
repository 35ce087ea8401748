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
  const all = new AbortController();
  const cancel = () => all.abort(signal?.reason);
  signal?.addEventListener("abort", cancel, { once: true });
  let finished = 0;
  let tokens = 0;
  const answer = async (request: GenerationRequest): Promise<GenerationResult> => {
    const result = await engine.submit(request, { signal: all.signal });
    finished++;
    tokens += result.ids.length;
    onProgress?.({ finished, total: requests.length, tokens });
    return result;
  };
  try {
    return await Promise.all(requests.map(answer));
  } catch (error) {
    all.abort(error);
    throw error;
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}
