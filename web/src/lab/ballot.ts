// The cells of an experiment and their vote, as plain data. In: answers. Out: what each votes for, and what a row comes to.

import { majorityVote } from "../../../src/chat/vote.ts";
import type { Usage } from "../client/client.ts";
import type { Verdict } from "../text/solver.ts";

/** Tokens of thinking (undefined: no limit), or so many times "Wait". */
export type Effort = { readonly id: string; readonly budget?: number; readonly waits?: number };

export type Cell = {
  readonly state: "waiting" | "running" | "done" | "failed";
  readonly reasoning: string;
  readonly content: string;
  readonly usage?: Usage;
  readonly verdict?: Verdict;
  readonly trouble?: { readonly code: string; readonly detail: string };
};

export type Line = { readonly effort: Effort; readonly cells: readonly Cell[] };

/** What a cell votes for: the value of a solver's expression, else the answer's last line, in plain letters. */
export function ballot({ state, content, verdict }: Cell): string | undefined {
  if (state !== "done" || content === "") return undefined;
  if (verdict) return verdict.value;
  const boxed = /\\boxed\{([^{}]{1,200})\}/.exec(content)?.[1];
  const last = boxed ?? content.split("\n").findLast((line) => line.trim() !== "") ?? "";
  return (
    last
      .replace(/[*_`$]/g, "")
      .replace(/[.。\s]+$/, "")
      .trim()
      .toLowerCase()
      .slice(0, 200) || undefined
  );
}

export type Result = {
  readonly value: string | undefined;
  readonly votes: number;
  readonly done: number;
  readonly right: number;
  readonly tokens: number;
};

export function resultOf({ cells }: Line): Result {
  const done = cells.filter(({ state }) => state === "done");
  const winner = majorityVote(done, ballot);
  const tokens = done.reduce((sum, { usage }) => sum + (usage?.thinkingTokens ?? 0), 0);
  return {
    value: winner?.value,
    votes: winner?.votes ?? 0,
    done: done.length,
    right: done.filter(({ verdict }) => verdict?.isRight).length,
    tokens: done.length > 0 ? tokens / done.length : 0,
  };
}
