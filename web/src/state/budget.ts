// The steps of the slider of thinking: none, some powers of two, no limit. In: a step and the model's context. Out: tokens.

/** 0: no thinking; undefined: no limit. */
const all: readonly (number | undefined)[] = [0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, undefined];

export function budgetSteps(contextLength = 4096): readonly (number | undefined)[] {
  return all.filter((tokens) => tokens === undefined || tokens < contextLength);
}

/** A step beyond the last means the last: no limit. */
export function budgetAt(step: number, contextLength?: number): number | undefined {
  const steps = budgetSteps(contextLength);
  return steps[Math.max(0, Math.min(step, steps.length - 1))];
}
