// How a Countdown trace thinks: which attempts it tries, in which order, and when it stops. In: a problem's numbers and target, a generator,
// options. Out: the attempts, the last one right unless it gave up. No attempt is tried twice.
// Unusual: a trace that does not find a solution in maxAttempts is drawn again (rejection sampling, as R1's cold start), not bent into
// finding one, so a model that imitates traces learns an honest search.

import { ConfigError, quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { type Attempt, enumerateAttempts, formatStep, type Rules } from "./countdown-search.ts";

export type CountdownTrace = {
  /**
   * The order of attempts. "random": all orders are as likely. "guided": attempt a has weight (1 + |value - target|) ^ -sharpness, drawn
   * without replacement. "rounds": every beginning (all steps but the last) once in a round, in random order; its last step is the one that
   * comes nearest to the target with probability sharpness, else any that was not tried. Default "rounds".
   */
  readonly proposals?: "random" | "guided" | "rounds";
  /**
   * rounds: beginnings in random order, or "written": pairs as the prompt writes the numbers, + - * / for each. A model that follows a written order
   * need not remember what it tried, and does not run in circles. Default "random".
   */
  readonly order?: "random" | "written";
  /** guided: 0 or more, 0 is random; rounds: a probability. Default 0.5. */
  readonly sharpness?: number;
  /** Attempts before the trace stops, the right one included, 1 or more. Default 8. */
  readonly maxAttempts?: number;
  /** How often `Wait` is written where the trace would stop, each time for maxAttempts more. Default 0. */
  readonly waits?: number;
  /**
   * Probability that `Wait` is written at each of those places; else the trace stops there, without a solution (with giveUp) or drawn again. Default 1.
   * A model that saw both can learn from reward alone that going on pays.
   */
  readonly waitShare?: number;
  /** Keep a trace without a solution: it ends in its last attempt, which is wrong. For pretraining only. Default false. */
  readonly giveUp?: boolean;
  /**
   * Probability that a trace is a drill: one attempt with its verdict, right or wrong with equal chances. For pretraining only: searches hold
   * few right attempts, and without many of them a small model does not learn to tell right from wrong. Default 0.
   */
  readonly drill?: number;
};

export type Search = {
  readonly attempts: readonly Attempt[];
  /** Is the last attempt right? */
  readonly solved: boolean;
  /** How many attempts come before each Wait. */
  readonly waitsAfter: readonly number[];
};

const maxDraws = 64;

/** Undefined when the problem has no solution, or none within maxAttempts in 64 draws (and giving up is not allowed). */
export function searchCountdown(
  numbers: readonly number[],
  target: number,
  rules: Rules,
  options: CountdownTrace,
  random: Random,
): Search | undefined {
  const {
    proposals = "rounds",
    order: beginnings = "random",
    sharpness = 0.5,
    maxAttempts = 8,
    waits = 0,
    waitShare = 1,
    giveUp = false,
    drill = 0,
  } = checkTrace(options);
  const all = enumerateAttempts(numbers, rules);
  if (all.length === 0 || !(giveUp || all.some((attempt) => attempt.value === target))) return undefined;
  if (drill > 0 && random.uniform() < drill) {
    const solved = random.uniform() < 0.5;
    const fitting = all.filter((attempt) => (attempt.value === target) === solved);
    const distance = (attempt: Attempt) => Math.abs(attempt.value - target);
    if (fitting.length > 0) {
      // The nearer of two: narrow misses are hard to tell from hits.
      const [chosen, rival] = [random.pick(fitting), random.pick(fitting)];
      return { attempts: [distance(rival) < distance(chosen) ? rival : chosen], solved, waitsAfter: [] };
    }
  }
  for (let draw = 0; draw < maxDraws; draw++) {
    const order =
      proposals === "rounds"
        ? inRounds(all, target, sharpness, beginnings, random)
        : byWeight(all, target, proposals === "random" ? 0 : sharpness, random);
    const right = order.findIndex((attempt) => attempt.value === target);
    let granted = 0;
    while (granted < waits && (waitShare === 1 || random.uniform() < waitShare)) granted++;
    const limit = maxAttempts * (granted + 1);
    const solved = right !== -1 && right < limit;
    if (!solved && !giveUp) continue;
    const attempts = order.slice(0, solved ? right + 1 : limit);
    const waitsAfter = Array.from({ length: granted }, (_, i) => maxAttempts * (i + 1)).filter((place) => place < attempts.length);
    return { attempts, solved, waitsAfter };
  }
  return undefined;
}

/** Throws ConfigError for options that make no sense. */
export function checkTrace(options: CountdownTrace): CountdownTrace {
  const { proposals = "rounds", order = "random", sharpness = 0, maxAttempts = 1, waits = 0, waitShare = 1, drill = 0 } = options;
  const fail = (expected: string): never => {
    throw new ConfigError({
      operation: "set up countdown traces",
      got: quote(JSON.stringify(options), 160),
      expected,
      cure: "mend that option",
    });
  };
  if (!["random", "guided", "rounds"].includes(proposals)) fail("proposals: random, guided or rounds");
  if (order !== "random" && order !== "written") fail("order: random or written");
  if (!Number.isFinite(sharpness) || sharpness < 0) fail("sharpness: a finite number of 0 or more");
  if (proposals === "rounds" && sharpness > 1) fail("sharpness: a probability of at most 1 with proposals: rounds");
  if (!Number.isSafeInteger(maxAttempts) || maxAttempts < 1) fail("maxAttempts: an integer of 1 or more");
  if (!(waitShare >= 0 && waitShare <= 1)) fail("waitShare: a probability");
  if (!(drill >= 0 && drill <= 1)) fail("drill: a probability");
  if (!Number.isSafeInteger(waits) || waits < 0) fail("waits: an integer of 0 or more");
  return options;
}

/** Largest of log weight + Gumbel noise first: drawing by weight without replacement. */
function byWeight(all: readonly Attempt[], target: number, sharpness: number, random: Random): Attempt[] {
  const gumbel = () => -Math.log(-Math.log((random.uint32() + 0.5) / 4294967296));
  return all
    .map((attempt) => ({ attempt, rank: gumbel() - sharpness * Math.log(1 + Math.abs(attempt.value - target)) }))
    .sort((a, b) => b.rank - a.rank)
    .map((entry) => entry.attempt);
}

function inRounds(all: readonly Attempt[], target: number, near: number, beginnings: "random" | "written", random: Random): Attempt[] {
  const left = new Map<string, Attempt[]>();
  for (const attempt of all) {
    const beginning = attempt.steps.slice(0, -1).map(formatStep).join();
    const same = left.get(beginning);
    if (same) same.push(attempt);
    else left.set(beginning, [attempt]);
  }
  const order: Attempt[] = [];
  while (left.size > 0) {
    const round = [...left.keys()];
    for (const beginning of beginnings === "written" ? round : random.shuffle(round)) {
      const untried = left.get(beginning) as Attempt[];
      const distance = (attempt: Attempt) => Math.abs(attempt.value - target);
      const nearest = () => untried.reduce((best, attempt, i) => (distance(attempt) < distance(untried[best] as Attempt) ? i : best), 0);
      const chosen = random.uniform() < near ? nearest() : random.integer(untried.length);
      order.push(...untried.splice(chosen, 1));
      if (untried.length === 0) left.delete(beginning);
    }
  }
  return order;
}
