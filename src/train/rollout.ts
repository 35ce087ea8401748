// Rollouts: the policy's own completions of training problems, with rewards and advantages. In: an engine on the very weights that are trained, a task.
// Out: plain data that survives JSON, so a checkpoint can hold rollouts that are not used up. Unusual: the ids keep the stop id, which is learned; a
// completion that ran into the limit earns nothing, even if its text so far is right, because evaluation would not count it either.

import { ConfigError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Engine } from "../engine/engine.ts";
import type { GenerationResult } from "../engine/request.ts";
import { rewards as taskRewards } from "../tasks/task.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { advantagesOf, meanOf, type ScaleRewards, standardDeviation } from "./grpo-loss.ts";
import type { TrainingTask } from "./task-table.ts";
import { encoderOf } from "./tokenizer-setup.ts";

export type Rollout = {
  readonly promptIds: readonly number[];
  /** With the stop id at the end, unless truncated. */
  readonly ids: readonly number[];
  /** Log-probability of each of `ids` under the policy that sampled. */
  readonly logprobs: readonly number[];
  readonly advantage: number;
  readonly truncated: boolean;
  /** Under the reference model, when there is one. */
  readonly reference?: readonly number[];
};

export type RolloutSettings = {
  /** Problems in a generation, and completions of each. */
  readonly prompts: number;
  readonly numGenerations: number;
  readonly maxPromptLength: number;
  readonly maxCompletionLength: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly scaleRewards: ScaleRewards;
};

export type Generation = {
  readonly rollouts: readonly Rollout[];
  /** By TRL's names. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly samples: readonly {
    readonly prompt: string;
    readonly completion: string;
    readonly reward: number;
    readonly advantage: number;
  }[];
};

/** Draws problems, lets the engine answer them, rewards the answers. The same `random` and weights give the same rollouts. */
export async function makeRollouts(
  engine: Engine,
  task: TrainingTask,
  tokenizer: Tokenizer,
  settings: RolloutSettings,
  random: Random,
): Promise<Generation> {
  const { prompts, numGenerations, maxCompletionLength, temperature, topP, topK, minP, scaleRewards } = settings;
  const encoder = encoderOf(tokenizer);
  const seeds = random.fork("seeds");
  const problems = Array.from({ length: prompts }, (_, i) => {
    const row = task.draw(random.fork("problems").fork(i));
    const prompt = task.task.prompt(row);
    const ids = [...(encoder.bos === undefined ? [] : [encoder.bos]), ...encoder.encode(prompt)];
    if (ids.length > settings.maxPromptLength) {
      throw new ConfigError({
        operation: "make rollouts",
        got: `a prompt of ${ids.length} tokens`,
        expected: `at most maxPromptLength, ${settings.maxPromptLength}`,
        cure: "raise maxPromptLength",
      });
    }
    return { row, prompt, ids };
  });
  engine.clearPrefixes(); // they are of the weights before the last step
  const asked = problems.flatMap((problem) => Array.from({ length: numGenerations }, () => problem));
  const results = await engine.generate(
    asked.map(({ ids }) => ({
      ids,
      maxTokens: maxCompletionLength,
      stop: [encoder.eos],
      sampling: { temperature, topP, topK, minP, seed: seeds.uint32() },
      logprobs: true,
    })),
  );

  const texts = results.map((result) => tokenizer.decode(result.ids));
  let invalid = 0;
  const rewards = results.map((result, i) => {
    if (result.stop === "length") return taskRewards.none;
    const reward = safeReward(task, texts[i] as string, asked[i]?.row);
    if (reward === undefined) invalid++;
    return reward ?? taskRewards.none;
  });
  const { advantages, zeroStd } = advantagesOf(rewards, numGenerations, scaleRewards);
  const rollouts = results.map(
    (result, i): Rollout => ({
      promptIds: (asked[i] as (typeof asked)[number]).ids,
      ...tokensOf(result),
      advantage: advantages[i] as number,
      truncated: result.stop === "length",
    }),
  );
  const name = `rewards/${task.task.name}`;
  return {
    rollouts,
    metrics: {
      reward: meanOf(rewards),
      reward_std: standardDeviation(rewards),
      frac_reward_zero_std: zeroStd,
      [`${name}/mean`]: meanOf(rewards),
      [`${name}/std`]: standardDeviation(rewards),
      ...(invalid > 0 && { [`${name}/invalid`]: invalid }),
      ...lengthMetrics(rollouts),
    },
    samples: asked.map(({ prompt }, i) => ({
      prompt,
      completion: texts[i] as string,
      reward: rewards[i] as number,
      advantage: advantages[i] as number,
    })),
  };
}

/** undefined when the reward function throws or returns no finite number: one bad row must not end a run. */
function safeReward(task: TrainingTask, completion: string, row: unknown): number | undefined {
  try {
    const reward: unknown = task.task.reward(completion, row);
    return typeof reward === "number" && Number.isFinite(reward) ? reward : undefined;
  } catch {
    return undefined;
  }
}

function tokensOf({ ids, logprobs = [], stopId, stopLogprob }: GenerationResult): { ids: number[]; logprobs: number[] } {
  if (stopId === undefined || stopLogprob === undefined) return { ids, logprobs };
  return { ids: [...ids, stopId], logprobs: [...logprobs, stopLogprob] };
}

function lengthMetrics(rollouts: readonly Rollout[]): Record<string, number> {
  const lengths = rollouts.map(({ ids }) => ids.length);
  const finished = rollouts.filter(({ truncated }) => !truncated).map(({ ids }) => ids.length);
  return {
    "completions/mean_length": meanOf(lengths),
    "completions/min_length": Math.min(...lengths),
    "completions/max_length": Math.max(...lengths),
    "completions/clipped_ratio": (rollouts.length - finished.length) / rollouts.length,
    "completions/mean_terminated_length": meanOf(finished),
  };
}
