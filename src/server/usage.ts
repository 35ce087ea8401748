// What an answer cost, in the words of OpenAI, DeepSeek (hit and miss) and llama.cpp (timings). In: how each choice ended. Out: plain objects.

import type { Finish } from "./generation.ts";

/** The prompt is counted once for each prompt, whatever n is. */
export function usage(finishes: readonly Finish[], prompts = 1): object {
  const sum = (pick: (finish: Finish) => number) => finishes.reduce((total, finish) => total + pick(finish), 0);
  const each = finishes.filter((_, i) => i % (finishes.length / prompts) === 0);
  const prompt = each.reduce((total, { promptTokens }) => total + promptTokens, 0);
  const cached = each.reduce((total, { cachedTokens }) => total + cachedTokens, 0);
  const completion = sum(({ completionTokens }) => completionTokens);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    completion_tokens_details: { reasoning_tokens: sum(({ reasoningTokens }) => reasoningTokens) },
    prompt_tokens_details: { cached_tokens: cached },
    prompt_cache_hit_tokens: cached,
    prompt_cache_miss_tokens: prompt - cached,
  };
}

/** llama.cpp's object, for the choice that took longest. */
export function timings(finishes: readonly Finish[]): object {
  const slowest = finishes.reduce<Finish | undefined>(
    (worst, finish) => (!worst || finish.promptSeconds + finish.decodeSeconds > worst.promptSeconds + worst.decodeSeconds ? finish : worst),
    undefined,
  );
  if (!slowest) return {};
  const { promptTokens, cachedTokens, completionTokens, draftedTokens, acceptedTokens, promptSeconds, decodeSeconds } = slowest;
  const read = promptTokens - cachedTokens;
  // The first token comes with the prompt's pass.
  const written = Math.max(0, completionTokens - 1);
  return {
    cache_n: cachedTokens,
    prompt_n: read,
    prompt_ms: rounded(promptSeconds * 1000),
    prompt_per_token_ms: ratio(promptSeconds * 1000, read),
    prompt_per_second: ratio(read, promptSeconds),
    predicted_n: completionTokens,
    predicted_ms: rounded(decodeSeconds * 1000),
    predicted_per_token_ms: ratio(decodeSeconds * 1000, written),
    predicted_per_second: ratio(written, decodeSeconds),
    // As llama.cpp: only where something was drafted.
    ...(draftedTokens > 0 && { draft_n: draftedTokens, draft_n_accepted: acceptedTokens }),
  };
}

function ratio(a: number, b: number): number {
  return b > 0 ? rounded(a / b) : 0;
}

/** Thousandths are as far as a clock can be trusted. */
function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
