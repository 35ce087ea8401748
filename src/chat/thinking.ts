// How a model thinks: which texts begin and end it, whether a prompt has begun it, and the budget in ids. Delimiters are found in the chat
// template or the vocabulary, or given: R1's and Qwen3's <think> and </think>, s1's <|im_start|>think and <|im_start|>answer.
// A budget needs to know where thinking begins, so where the prompt leaves that to the model, the opening delimiter is put at its end.

import { RequestError } from "../core/errors.ts";
import type { ThinkingBudget } from "../engine/request.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type Delimiters, type ThinkState, thinkTags } from "./think-stream.ts";

/** Counts are tokens. */
export type ThinkingOptions = {
  /** After so many tokens the closing delimiter is forced. 0: no thinking, but in the form that the model knows. */
  readonly max?: number;
  /** Ends that come sooner are dropped. */
  readonly min?: number;
  /** The first `times` ends are dropped and `text` (default "Wait") put in their place. */
  readonly extend?: { readonly times: number; readonly text?: string };
  /** Forced after a forced end. Default: none; for s1's delimiters "\nFinal Answer:", as its evaluation does. */
  readonly cue?: string;
};

export const s1Delimiters: Delimiters = { open: "<|im_start|>think", close: "<|im_start|>answer" };

/** The delimiters of a model, or undefined for one that does not think. */
export function findDelimiters(template: string | undefined, tokenizer: Pick<Tokenizer, "idOf">): Delimiters | undefined {
  if (template?.includes(s1Delimiters.open) && template.includes(s1Delimiters.close)) return s1Delimiters;
  // Any pair of tags that speaks of thinking: <think>, <thinking>, <seed:think>, [THINK], <reasoning>.
  for (const [open, , name] of template?.matchAll(/([<[])([\w:|-]*(?:think|reason|thought)[\w:|-]*)[>\]]/gi) ?? []) {
    const close = open.startsWith("<") ? `</${name}>` : `[/${name}]`;
    if (template?.includes(close)) return { open, close };
  }
  return tokenizer.idOf(thinkTags.close) === undefined ? undefined : thinkTags;
}

/** Where a completion of this prompt begins. */
export function stateAfter(prompt: string, delimiters: Delimiters | undefined): ThinkState {
  if (!delimiters) return "after";
  const { open, close } = delimiters;
  const end = prompt.trimEnd();
  if (end.endsWith(close)) return "after";
  return end.endsWith(open) ? "inside" : "before";
}

export type ThinkingPlan = { readonly prompt: string; readonly begin: ThinkState; readonly budget?: ThinkingBudget };

/**
 * The prompt as it must be for this kind of thinking, and the engine's budget. `thinking`: undefined leaves it to model and template; false
 * closes thinking where the template has not done it already. `mustKnow`: the end of thinking must be seen as ids (a constraint waits
 * for it). Throws RequestError for a budget on a model that does not think.
 */
export function planThinking(
  prompt: string,
  thinking: boolean | ThinkingOptions | undefined,
  delimiters: Delimiters | undefined,
  tokenizer: Pick<Tokenizer, "encode">,
  mustKnow: boolean,
): ThinkingPlan {
  const begin = stateAfter(prompt, delimiters);
  if (!delimiters) {
    if (thinking === undefined || typeof thinking === "boolean") return { prompt, begin: "after" };
    throw new RequestError({
      operation: "generate: thinking",
      got: "a budget for a model that does not think",
      expected: "a model whose chat template or vocabulary has delimiters of thinking",
      cure: "leave it out, or name the delimiters when the model is loaded",
    });
  }
  const { open, close } = delimiters;
  if (thinking === false) {
    if (begin === "after") return { prompt, begin };
    // As Qwen3's template does it; a prompt that has no line break after its opening delimiter gets none.
    if (begin === "before") return { prompt: `${prompt}${open}\n\n${close}\n\n`, begin: "after" };
    return { prompt: prompt.endsWith("\n") ? `${prompt.trimEnd()}\n\n${close}\n\n` : `${prompt}${close}`, begin: "after" };
  }
  const options = typeof thinking === "object" ? thinking : undefined;
  if (begin === "after") return { prompt, begin };
  if (begin === "before" && !options && !mustKnow) return { prompt, begin };
  return {
    prompt: begin === "inside" ? prompt : `${prompt}${open}\n`,
    begin: "inside",
    budget: makeBudget(options ?? {}, delimiters, tokenizer, mustKnow),
  };
}

function makeBudget(
  { max, min, extend, cue }: ThinkingOptions,
  delimiters: Delimiters,
  tokenizer: Pick<Tokenizer, "encode">,
  isConstrained: boolean,
): ThinkingBudget {
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const finalCue = isConstrained ? undefined : (cue ?? (delimiters.close === s1Delimiters.close ? "\nFinal Answer:" : undefined));
  if (extend !== undefined && (typeof extend !== "object" || extend === null)) {
    throw new RequestError({
      operation: "generate: thinking.extend",
      got: String(extend),
      expected: "an object { times, text }",
      cure: "leave it out, or give times",
    });
  }
  return {
    end: encode(delimiters.close),
    ...(max !== undefined && { max }),
    ...(min !== undefined && { min }),
    ...(extend && { extend: { times: extend.times, ids: encode(extend.text ?? "Wait") } }),
    ...(finalCue && { cue: encode(finalCue) }),
  };
}
