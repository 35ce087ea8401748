// What a task is: problems from a seed, a prompt, a check, a reward and a worked solution, all in one file for each task, so that
// evaluation, distillation and reinforcement cannot disagree about what is right. Tasks know text only; ids are the engine's business.
// The text of one sample is prompt + completion: the prompt ends with `<think>`, a completion is reasoning `</think>` answer (completion.ts).

import type { Random } from "../core/random.ts";

/** Reward of a right answer; of a well-formed but wrong one; of anything else (TinyZero: 1, 0.1, 0). */
export const rewards = { right: 1, wellFormed: 0.1, none: 0 } as const;

/** `Row` is one problem as plain data (it survives JSON); `TraceOptions` what the task's trace writer can be told. */
export type Task<Row, TraceOptions extends object = object> = {
  /** Name for flags, reports and run folders: lower case, no spaces. */
  readonly name: string;
  /** Draws a problem that has a solution. Endless: the same state of `random` gives the same row. */
  sample(random: Random): Row;
  /** Stable identity of the problem (for the split): same key = same problem, however it is written in the prompt. */
  key(row: Row): string;
  /** The text that the model continues, up to and with the opening `<think>`. It never contains the answer. */
  prompt(row: Row): string;
  /**
   * A completion that earns reward 1, with its reasoning: what a teacher would write. Undefined when the solver finds none.
   * (An option of the task may ask for traces that fail; nothing else does.)
   * The same row, state of `random` and options give the same text.
   */
  trace(row: Row, random: Random, options?: TraceOptions): string | undefined;
  /** Is this answer (the part after the reasoning) right? False for anything malformed; never throws. */
  check(answer: string, row: Row): boolean;
  /** Between 0 and 1 for the whole text after the prompt; see `rewards`. Never throws, whatever a model wrote. */
  reward(completion: string, row: Row): number;
};
