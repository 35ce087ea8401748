// 95 % intervals for accuracies. In: counts. Out: [estimate, low, high], the form in which every report carries an accuracy.
// Wilson's score interval (Wilson 1927): unlike p ± 1.96 s it stays inside 0..1 and is honest at 0 % and 100 %.

import { ConfigError } from "../core/errors.ts";

/** [p, low, high], all in 0..1. */
export type Interval = readonly [p: number, low: number, high: number];

const z = 1.959963984540054;

/** Of `n` independent trials, 1 or more, `right` succeeded; both may be fractional (effective counts). */
export function wilson(right: number, n: number): Interval {
  if (!(n > 0) || !(right >= 0) || right > n || !Number.isFinite(n)) {
    throw new ConfigError({
      operation: "compute an interval",
      got: `${right} right of ${n}`,
      expected: "0 <= right <= n and at least one trial",
      cure: "evaluate at least one problem",
    });
  }
  const p = right / n;
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [p, Math.min(p, Math.max(0, middle - half)), Math.max(p, Math.min(1, middle + half))];
}

/**
 * Several samples of each problem: `right[i]` of `samples` were right on problem i. Samples of one problem resemble one another, so they
 * do not count as independent trials: Wilson's interval is taken at the effective number of trials, p (1 - p) over the variance of the mean
 * across problems, between the number of problems and the number of samples.
 */
export function wilsonClustered(right: readonly number[], samples: number): Interval {
  const n = right.length;
  const p = right.reduce((sum, count) => sum + count / samples, 0) / n;
  if (n < 2) return wilson(p * n, n);
  const variance = right.reduce((sum, count) => sum + (count / samples - p) ** 2, 0) / (n - 1) / n;
  const effective = variance === 0 ? n : Math.min(n * samples, Math.max(n, (p * (1 - p)) / variance));
  return wilson(p * effective, effective);
}

/** Do two intervals share a point? When not, the difference is beyond doubt (at 95 % on each side). */
export function overlap(a: Interval, b: Interval): boolean {
  return a[1] <= b[2] && b[1] <= a[2];
}

/** `62.1 % (59.0 to 65.0)` */
export function formatInterval([p, low, high]: Interval): string {
  const percent = (share: number) => (share * 100).toFixed(1);
  return `${percent(p)} % (${percent(low)} to ${percent(high)})`;
}
