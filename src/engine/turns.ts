// The choices of a step. In: its plan and its logits. Out: calls of `settle` and `fail`. Each sequence chooses from its first row; while the chosen id
// is the draft that was fed after it, the next row's logits are those of a plain step, and it chooses again from them. Sequences go
// on side by side, one id each in a round, so that the masks and the log-probabilities of a round are waited for once.

import type { HostArray } from "../core/dtype.ts";
import { dispose, read, type Tensor } from "../tensor/tensor.ts";
import { type Choice, chooseId, ended, isConstrained } from "./choose.ts";
import { makeSampler } from "./sampler.ts";
import type { Scheduler, StepPlan } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import type { StepRunner } from "./step.ts";

export type TurnParts = {
  readonly vocabSize: number;
  /** So many ids may be drawn. */
  readonly width: number;
  readonly bannedIds: readonly number[];
  readonly scheduler: Scheduler;
  readonly runner: StepRunner;
  /** `logprob` is of the chosen id, when the request asked for it. */
  readonly settle: (sequence: Sequence, choice: Choice, logprob: number | undefined) => void;
  /** `isSound`: the keys of the sequence are worth keeping. */
  readonly fail: (sequence: Sequence, error: unknown, isSound?: boolean) => void;
};

/** A sequence, the row of logits that it chooses from, and the drafts that were fed from there on. */
type Turn = { readonly sequence: Sequence; readonly row: number; readonly drafts: readonly number[] };

/** Makes all choices of a step; `logits` [M, vocabSize]. Rejects when the device fails. */
export function makeChooser({ vocabSize, width, bannedIds, scheduler, runner, settle, fail }: TurnParts) {
  const sample = makeSampler(vocabSize);

  return async (plan: StepPlan, logits: Tensor): Promise<void> => {
    const host = await read(logits);
    scheduler.advance(plan);
    let turns = plan.choosing.map((sequence, m): Turn => ({ sequence, row: plan.outputRows[m] as number, drafts: sequence.drafts }));
    while (turns.length > 0) {
      await prepareConstraints(turns);
      const choices = turns.map(({ sequence, row }) => choose(sequence, host, row * vocabSize));
      const losses = await lossesOf(turns, choices, logits);
      turns = turns.flatMap((turn, i) => {
        const { sequence, row, drafts } = turn;
        const choice = choices[i];
        if (!choice || sequence.isDone) return [];
        settle(sequence, choice, losses && sequence.request.logprobs ? 0 - (losses[i] as number) : undefined);
        if (sequence.isDone || choice.id !== drafts[0]) return [];
        scheduler.accept(sequence);
        return [{ sequence, row: row + 1, drafts: drafts.slice(1) }];
      });
    }
  };

  /** Masks are made while the device computes; whoever's cannot be made leaves. */
  async function prepareConstraints(turns: readonly Turn[]): Promise<void> {
    for (const { sequence } of turns) {
      if (sequence.isDone || !isConstrained(sequence)) continue;
      try {
        await sequence.request.constraint?.prepare();
      } catch (error) {
        fail(sequence, error);
      }
    }
  }

  /** Undefined when the sequence left meanwhile, or failed just now. */
  function choose(sequence: Sequence, host: HostArray, start: number): Choice | undefined {
    if (sequence.isDone) return undefined;
    try {
      return chooseId(sequence, host, start, width, bannedIds, sample);
    } catch (error) {
      fail(sequence, error, false); // keys that led to such logits are not worth keeping
      return undefined;
    }
  }

  /** Negative log-probabilities of the chosen ids, when somebody asked. */
  async function lossesOf(turns: readonly Turn[], choices: readonly (Choice | undefined)[], logits: Tensor) {
    const targets = choices.map((choice, i) => (choice && turns[i]?.sequence.request.logprobs ? choice.id : ended));
    if (targets.every((target) => target < 0)) return undefined;
    const rows = turns.map(({ row }) => row);
    const losses = runner.losses(logits, rows, targets);
    try {
      return await read(losses);
    } finally {
      dispose(losses);
    }
  }
}
