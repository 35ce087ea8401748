// How much a model may think, in every dialect, as one wish. In: the fields of a request. Out: { thinking, budgetTokens } and the switches for
// the model's template. The most exact field wins: a number of tokens, then on or off, then an effort.

import type { JsonObject, JsonValue } from "../core/json.ts";
import { templateSwitches } from "../text/chat-template.ts";
import { badField } from "./refusal.ts";
import type { Effort } from "./schema-parts.ts";

export type ThinkingWish = {
  /** Undefined: as the model's template has it. */
  readonly thinking?: boolean;
  readonly budgetTokens?: number;
  /** A share of the answer's room, where only an effort was named. */
  readonly budgetShare?: number;
  readonly effort?: Effort;
  /** So many ends of thinking are replaced by "Wait". */
  readonly extend?: number;
};

/** The share of max_tokens that an effort may spend on thinking; undefined: all of it. DeepSeek's names fall on OpenAI's. */
export const effortShares: Readonly<Record<Effort, number | undefined>> = {
  none: 0,
  minimal: 1 / 16,
  low: 1 / 4,
  medium: 1 / 2,
  high: undefined,
  xhigh: undefined,
  max: undefined,
  ultra: undefined,
};

export type ThinkingFields = {
  readonly thinking?: { readonly type: string; readonly budget_tokens?: number | null } | null;
  readonly reasoning_effort?: Effort | null;
  readonly reasoning?:
    | Effort
    | { readonly effort?: Effort | null; readonly max_tokens?: number | null; readonly enabled?: boolean | null }
    | null;
  readonly output_config?: { readonly effort?: Effort | null } | null;
  readonly chat_template_kwargs?: JsonObject | null;
  readonly enable_thinking?: boolean | null;
  readonly thinking_budget?: number | null;
  readonly thinking_token_budget?: number | null;
  readonly reasoning_budget?: number | null;
  readonly thinking_extend?: number | null;
};

export function readThinking(body: ThinkingFields): ThinkingWish {
  const { thinking, reasoning, chat_template_kwargs: kwargs } = body;
  const named = typeof reasoning === "string" ? { effort: reasoning } : (reasoning ?? {});
  const effort = body.reasoning_effort ?? named.effort ?? body.output_config?.effort ?? undefined;
  const endless = body.reasoning_budget === -1 ? undefined : body.reasoning_budget;
  const budget = thinking?.budget_tokens ?? named.max_tokens ?? body.thinking_token_budget ?? body.thinking_budget ?? endless ?? undefined;
  const switched = [
    thinking ? thinking.type !== "disabled" : undefined,
    named.enabled,
    body.enable_thinking,
    kwargs?.enable_thinking,
    kwargs?.thinking,
  ].find((value) => typeof value === "boolean");
  const isOn =
    typeof switched === "boolean" ? switched : effort !== undefined ? effort !== "none" : budget !== undefined ? budget > 0 : undefined;
  const share = effort && effort !== "none" ? effortShares[effort] : undefined;
  return {
    ...(isOn !== undefined && { thinking: isOn }),
    ...(budget !== undefined && budget !== null && isOn !== false && { budgetTokens: budget }),
    ...(budget === undefined && isOn !== false && share !== undefined && { budgetShare: share }),
    ...(effort && { effort }),
    ...(body.thinking_extend && isOn !== false && { extend: body.thinking_extend }),
  };
}

/** The number of tokens that a wish comes to, when `room` tokens are left for the answer. */
export function budgetOf(wish: ThinkingWish, room: number): number | undefined {
  if (wish.thinking === false) return 0;
  if (wish.budgetTokens !== undefined) return wish.budgetTokens;
  return wish.budgetShare === undefined ? undefined : Math.max(1, Math.floor(room * wish.budgetShare));
}

/** What the template is told. Throws Refusal for a switch that no published template has. */
export function switchesOf(wish: ThinkingWish, kwargs: JsonObject | null | undefined): Record<string, JsonValue> {
  const switches: Record<string, JsonValue> = {};
  for (const [name, value] of Object.entries(kwargs ?? {})) {
    if (!templateSwitches.has(name)) {
      const expected = `one of ${[...templateSwitches].join(", ")}`;
      throw badField("chat_template_kwargs", JSON.stringify(name.slice(0, 60)), expected, "leave it out");
    }
    switches[name] = value as JsonValue;
  }
  if (wish.thinking !== undefined) {
    switches.enable_thinking = wish.thinking;
    switches.thinking = wish.thinking;
  }
  if (wish.effort !== undefined && wish.effort !== "none") switches.reasoning_effort ??= wish.effort;
  return switches;
}
