// How a model thinks: which texts begin and end it, whether a prompt has begun it, and the budget in ids. Delimiters are found in the chat
// template or the vocabulary, or given: R1's and Qwen3's <think> and </think>, s1's <|im_start|>think and <|im_start|>answer.
// A budget needs to know where thinking begins, so where the prompt leaves that to the model, the opening delimiter is put at its end.

import { RequestError } from "../core/errors.ts";
import { isPlainObject } from "../core/json.ts";
import type { ThinkingBudget } from "../engine/request.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ThinkState } from "./think-stream.ts";
import { s1Tags, type ThinkTags } from "./think-tags.ts";

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

/** Where a completion of this prompt begins. */
export function stateAfter(prompt: string, tags: ThinkTags | undefined): ThinkState {
  if (!tags) return "after";
  const { open, close } = tags;
  const end = prompt.trimEnd();
  if (end.endsWith(close)) return "after";
  return end.endsWith(open) ? "inside" : "before";
}

/** `suffix` is to be put at the end of the prompt. */
export type ThinkingPlan = { readonly suffix: string; readonly begin: ThinkState; readonly budget?: ThinkingBudget };

/**
 * What the prompt needs for this kind of thinking, and the engine's budget. `thinking`: undefined leaves it to model and template; false
 * closes thinking where the template has not done it already. `mustKnow`: the end of thinking must be seen as ids (a constraint waits
 * for it). Throws RequestError for a budget on a model that does not think.
 */
export function planThinking(
  prompt: string,
  thinking: boolean | ThinkingOptions | undefined,
  tags: ThinkTags | undefined,
  tokenizer: Pick<Tokenizer, "encode">,
  mustKnow: boolean,
): ThinkingPlan {
  checkThinking(thinking);
  const begin = stateAfter(prompt, tags);
  if (!tags) {
    if (thinking === undefined || typeof thinking === "boolean") return { suffix: "", begin: "after" };
    throw new RequestError({
      operation: "generate: thinking",
      got: "a budget for a model that does not think",
      expected: "a model whose chat template or vocabulary has delimiters of thinking",
      cure: "leave it out, or name the delimiters when the model is loaded",
    });
  }
  const { open, close } = tags;
  if (thinking === false) {
    if (begin === "after") return { suffix: "", begin };
    // As Qwen3's template does it; a prompt that has no line break after its opening delimiter gets none.
    if (begin === "before") return { suffix: `${open}\n\n${close}\n\n`, begin: "after" };
    return { suffix: prompt.endsWith("\n") ? `\n${close}\n\n` : close, begin: "after" };
  }
  const options = typeof thinking === "object" ? thinking : undefined;
  if (begin === "after") return { suffix: "", begin };
  if (begin === "before" && !options && !mustKnow) return { suffix: "", begin };
  return {
    suffix: begin === "inside" ? "" : `${open}\n`,
    begin: "inside",
    budget: makeBudget(options ?? {}, tags, tokenizer, mustKnow),
  };
}

/** What the engine cannot judge: it sees ids, not texts. */
function checkThinking(thinking: unknown): void {
  if (thinking === undefined || typeof thinking === "boolean") return;
  if (!isPlainObject(thinking)) refuse("thinking", thinking, "true, false, or an object { max, min, extend, cue }");
  const { cue, extend } = thinking;
  if (cue !== undefined && typeof cue !== "string") refuse("thinking.cue", cue, "a text");
  if (extend === undefined) return;
  if (!isPlainObject(extend)) refuse("thinking.extend", extend, "an object { times, text }");
  if (extend.text !== undefined && typeof extend.text !== "string") refuse("thinking.extend.text", extend.text, "a text");
}

function refuse(name: string, value: unknown, expected: string): never {
  const got = value === null ? "null" : Array.isArray(value) ? "a list" : `something of type ${typeof value}`;
  throw new RequestError({ operation: `generate: ${name}`, got, expected, cure: "leave it out, or change it" });
}

function makeBudget(
  { max, min, extend, cue }: ThinkingOptions,
  tags: ThinkTags,
  tokenizer: Pick<Tokenizer, "encode">,
  isConstrained: boolean,
): ThinkingBudget {
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const finalCue = isConstrained ? undefined : (cue ?? (tags.close === s1Tags.close ? "\nFinal Answer:" : undefined));
  return {
    end: encode(tags.close),
    ...(max !== undefined && { max }),
    ...(min !== undefined && { min }),
    ...(extend && { extend: { times: extend.times, ids: encode(extend.text ?? "Wait") } }),
    ...(finalCue && { cue: encode(finalCue) }),
  };
}
