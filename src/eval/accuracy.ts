// Accuracy of a model on a task: one greedy answer and, when asked, several sampled ones for each problem. In: anything that answers
// generation requests (Engine.generate), a task, held-out rows. Out: shares with 95 % intervals, thinking lengths, the completions.
// Unusual: a completion that was cut off by maxTokens is wrong even when its text so far is right; each request has a seed of its own, made
// from the problem's place, so results do not depend on how requests are batched.

import { ConfigError } from "../core/errors.ts";
import { Random } from "../core/random.ts";
import type { GenerationRequest, GenerationResult, Sampling, ThinkingBudget } from "../engine/request.ts";
import { rewards, type Task } from "../tasks/task.ts";
import { type Interval, wilson, wilsonClustered } from "./intervals.ts";

export type Generate = (requests: readonly GenerationRequest[]) => Promise<readonly GenerationResult[]>;

export type Codec = {
  /** Adds no special tokens of its own. */
  encode(text: string): readonly number[];
  /** Must keep the thinking tags in the text. */
  decode(ids: readonly number[]): string;
};

export type EvaluateOptions = {
  /** Longest completion in ids. */
  readonly maxTokens: number;
  /** Ids that end a completion. */
  readonly stop: readonly number[];
  /** Put before every prompt. */
  readonly bos?: number;
  /** The ids of `</think>`: thinking tokens are those before the first occurrence. */
  readonly thinkEnd: readonly number[];
  /** Sampled answers for each problem; default 1, 0 for greedy only. */
  readonly samples?: number;
  /** How sampled answers are drawn; default temperature 1. The seed of each answer is made from `seed`, not from here. */
  readonly sampling?: Omit<Sampling, "seed">;
  readonly budget?: ThinkingBudget;
  /** Default 0. */
  readonly seed?: number;
  /** Requests handed to `generate` at a time; default 512. */
  readonly chunk?: number;
  readonly onProgress?: (done: number, total: number) => void;
};

export type Answer = {
  readonly prompt: string;
  readonly completion: string;
  readonly reward: number;
  readonly right: boolean;
  readonly truncated: boolean;
  readonly thinkingTokens: number;
};

export type Outcome = {
  readonly accuracy: Interval;
  readonly meanReward: number;
  readonly meanThinkingTokens: number;
  /** Share of completions that ran into maxTokens. */
  readonly truncated: number;
  readonly promptTokens: number;
  readonly generatedTokens: number;
  /** Attended key rows over all tokens, for the cost ledger. */
  readonly keys: number;
  /** One for each problem, in order; the first sample of each when sampled. */
  readonly answers: readonly Answer[];
};

export type Evaluation = {
  readonly task: string;
  readonly n: number;
  readonly greedy: Outcome;
  readonly sampled?: Outcome;
};

/** Throws ConfigError when there are no rows or an option makes no sense; errors of `generate` pass through. */
export async function evaluate<Row>(
  generate: Generate,
  task: Task<Row>,
  rows: readonly Row[],
  codec: Codec,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { samples = 1, sampling = {}, seed = 0 } = options;
  if (rows.length === 0) fail("no problems", "at least one", "give rows of the task's test split");
  if (!Number.isSafeInteger(samples) || samples < 0) fail(`${samples} samples`, "an integer of 0 or more", "set samples");
  if (options.thinkEnd.length === 0) fail("no ids in thinkEnd", "the ids of </think>", "encode the closing tag");
  const total = rows.length * (1 + samples);
  const prompts = rows.map((row) => [...(options.bos === undefined ? [] : [options.bos]), ...codec.encode(task.prompt(row))]);
  let done = 0;

  /** Answers `repeats` times each problem; answer r of problem i lies at i · repeats + r. */
  async function ask(repeats: number, how: (place: number) => Sampling): Promise<GenerationResult[]> {
    const requests = rows.flatMap((_, i) =>
      Array.from({ length: repeats }, (_, r): GenerationRequest => {
        const common = { ids: prompts[i] as number[], maxTokens: options.maxTokens, stop: options.stop, sampling: how(i * repeats + r) };
        return options.budget ? { ...common, budget: options.budget } : common;
      }),
    );
    const results: GenerationResult[] = [];
    const chunk = options.chunk ?? 512;
    for (let start = 0; start < requests.length; start += chunk) {
      const part = requests.slice(start, start + chunk);
      const answered = await generate(part);
      if (answered.length !== part.length)
        fail(`${answered.length} results for ${part.length} requests`, "one for each", "mend `generate`");
      results.push(...answered);
      done += part.length;
      options.onProgress?.(done, total);
    }
    return results;
  }

  const summarize = (results: readonly GenerationResult[], repeats: number): Outcome => {
    const answers = results.map((result, at) => grade(task, rows[Math.floor(at / repeats)] as Row, codec, result, options.thinkEnd));
    const rightOf = rows.map((_, i) => answers.slice(i * repeats, (i + 1) * repeats).filter((answer) => answer.right).length);
    const mean = (value: (answer: Answer) => number) => answers.reduce((sum, answer) => sum + value(answer), 0) / answers.length;
    let [promptTokens, generatedTokens, keys] = [0, 0, 0];
    for (const { promptTokens: prompt, ids } of results) {
      promptTokens += prompt;
      generatedTokens += ids.length;
      keys += ((prompt + ids.length) * (prompt + ids.length + 1)) / 2;
    }
    return {
      accuracy: repeats === 1 ? wilson(answers.filter((answer) => answer.right).length, answers.length) : wilsonClustered(rightOf, repeats),
      meanReward: mean((answer) => answer.reward),
      meanThinkingTokens: mean((answer) => answer.thinkingTokens),
      truncated: mean((answer) => (answer.truncated ? 1 : 0)),
      promptTokens,
      generatedTokens,
      keys,
      answers: answers.filter((_, at) => at % repeats === 0),
    };
  };

  const greedy = summarize(await ask(1, () => ({ temperature: 0, seed: 0 })), 1);
  const common = { task: task.name, n: rows.length, greedy };
  if (samples === 0) return common;
  const root = new Random(seed).fork("evaluate");
  const drawn = await ask(samples, (place) => ({ temperature: 1, ...sampling, seed: root.fork(place).uint32() }));
  return { ...common, sampled: summarize(drawn, samples) };
}

/** One completion against its problem. */
function grade<Row>(task: Task<Row>, row: Row, codec: Codec, result: GenerationResult, thinkEnd: readonly number[]): Answer {
  const completion = codec.decode(result.ids);
  const reward = task.reward(completion, row);
  const truncated = result.stop === "length";
  const end = findRun(result.ids, thinkEnd);
  return {
    prompt: task.prompt(row),
    completion,
    reward,
    right: reward === rewards.right && !truncated,
    truncated,
    thinkingTokens: end === -1 ? result.ids.length : end,
  };
}

/** Where `run` first occurs in `ids`, or -1. */
function findRun(ids: readonly number[], run: readonly number[]): number {
  for (let at = 0; at + run.length <= ids.length; at++) {
    if (run.every((id, i) => ids[at + i] === id)) return at;
  }
  return -1;
}

function fail(got: string, expected: string, cure: string): never {
  throw new ConfigError({ operation: "evaluate", got, expected, cure });
}
