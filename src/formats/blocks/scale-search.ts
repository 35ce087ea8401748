// The search for scales that ggml's K types are made with, when there is no importance matrix: several candidate scales, each refined by
// weighted least squares, the best kept. In: a group of 16 or 32 values. Out: a scale (and minimum), and the codes.
// Unusual: every step is rounded to f32 and in ggml's order, because the choice between near-equal candidates hangs on the last bits;
// so the bytes equal those of ggml compiled without fused multiply-adds.

const round = Math.fround;

/** Adding and subtracting 1.5 * 2^52 leaves the nearest integer, ties to even. */
const magic = 6755399441055744;

export function nearest(value: number): number {
  return value + magic - magic;
}

export function clamp(value: number, low: number, high: number): number {
  if (value < low) return low;
  if (value > high) return high;
  return value;
}

/** A group below this is all zeros. */
const tiny = round(1e-15);
const tenth = round(0.1);

export type AffineSearch = {
  /** Codes are 0 to `top`. */
  readonly top: number;
  /** The candidates' inverse scales are (top + first + step / 10) / range, for step 0 to `steps`. */
  readonly first: number;
  readonly steps: number;
  /** Errors count by magnitude instead of by square. */
  readonly absolute: boolean;
};

export type Affine = { scale: number; minimum: number };

// Scratch of the group at hand. No closures below: V8 would keep the numbers they capture on the heap.
const candidate = new Uint8Array(32);
const shifted = new Float32Array(32);

function keep(codes: Uint8Array, at: number, count: number): void {
  for (let i = 0; i < count; i++) codes[at + i] = candidate[i] as number;
}

/** The weighted error of the candidate codes under `scale` and `minimum`. */
function errorOf(
  values: Float32Array,
  at: number,
  count: number,
  weights: Float32Array,
  scale: number,
  minimum: number,
  absolute: boolean,
) {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const difference = round(round(round(scale * (candidate[i] as number)) + minimum) - (values[at + i] as number));
    const cost = absolute ? Math.abs(difference) : round(difference * difference);
    sum = round(sum + round((weights[i] as number) * cost));
  }
  return sum;
}

/**
 * value ~ scale * code - minimum, minimum >= 0, for `count` values from `at` on, weighted by `weights` (from index 0 on). Writes the
 * codes at `codes[at]` and scale and minimum into `found`.
 */
export function searchAffine(
  values: Float32Array,
  at: number,
  count: number,
  weights: Float32Array,
  { top, first, steps, absolute }: AffineSearch,
  codes: Uint8Array,
  found: Affine,
): void {
  let low = values[at] as number;
  let high = low;
  let sumW = 0;
  let sumX = 0;
  for (let i = 0; i < count; i++) {
    const value = values[at + i] as number;
    const weight = weights[i] as number;
    if (value < low) low = value;
    if (value > high) high = value;
    sumW = round(sumW + weight);
    sumX = round(sumX + round(weight * value));
  }
  if (low > 0) low = 0;
  if (high === low) {
    codes.fill(0, at, at + count);
    found.scale = 0;
    found.minimum = -low;
    return;
  }
  for (let i = 0; i < count; i++) shifted[i] = (values[at + i] as number) - low;
  const inverse = round(top / round(high - low));
  let scale = round(1 / inverse);
  for (let i = 0; i < count; i++) candidate[i] = clamp(nearest(round(inverse * (shifted[i] as number))), 0, top);
  keep(codes, at, count);
  let least = errorOf(values, at, count, weights, scale, low, absolute);
  for (let step = 0; step <= steps; step++) {
    const tried = round(round(round(first + round(tenth * step)) + top) / round(high - low));
    let sumL = 0;
    let sumL2 = 0;
    let sumXL = 0;
    for (let i = 0; i < count; i++) {
      const code = clamp(nearest(round(tried * (shifted[i] as number))), 0, top);
      candidate[i] = code;
      const weighted = round((weights[i] as number) * code);
      sumL = round(sumL + weighted);
      sumL2 = round(sumL2 + round(weighted * code));
      sumXL = round(sumXL + round(weighted * (values[at + i] as number)));
    }
    const determinant = round(round(sumW * sumL2) - round(sumL * sumL));
    if (determinant <= 0) continue;
    let fitted = round(round(round(sumW * sumXL) - round(sumX * sumL)) / determinant);
    let minimum = round(round(round(sumL2 * sumX) - round(sumL * sumXL)) / determinant);
    if (minimum > 0) {
      minimum = 0;
      fitted = round(sumXL / sumL2);
    }
    const error = errorOf(values, at, count, weights, fitted, minimum, absolute);
    if (error < least) {
      keep(codes, at, count);
      least = error;
      scale = fitted;
      low = minimum;
      for (let i = 0; i < count; i++) shifted[i] = (values[at + i] as number) - low;
    }
  }
  found.scale = scale;
  found.minimum = -low;
}

/** The value of largest magnitude in a group. */
function farthest(values: Float32Array, at: number, count: number): number {
  let most = 0;
  for (let i = 0; i < count; i++) {
    const value = values[at + i] as number;
    if (Math.abs(value) > Math.abs(most)) most = value;
  }
  return most;
}

const squares = new Float32Array(32);
const cubes = new Float32Array(32);
/** Sums over a group, weighted by the squares of the values: value * level, and level * level. */
const sums = { xl: 0, l2: 0 };

/** Rounds a group by `inverse`, the inverse of a scale: candidate codes and sums. */
function roundGroup(values: Float32Array, at: number, count: number, half: number, inverse: number): void {
  let xl = 0;
  let l2 = 0;
  for (let i = 0; i < count; i++) {
    const level = clamp(nearest(round(inverse * (values[at + i] as number))), -half, half - 1);
    candidate[i] = level + half;
    xl = round(xl + round((cubes[i] as number) * level));
    l2 = round(l2 + round(round((squares[i] as number) * level) * level));
  }
  sums.xl = xl;
  sums.l2 = l2;
}

function findPowers(values: Float32Array, at: number, count: number): void {
  for (let i = 0; i < count; i++) {
    const value = values[at + i] as number;
    squares[i] = value * value;
    cubes[i] = (squares[i] as number) * value;
  }
}

/**
 * value ~ scale * (code - half), codes 0 to 2 * half - 1, squares of the values as weights; returns the scale and writes the codes at
 * `codes[at]`.
 */
export function searchSymmetric(values: Float32Array, at: number, count: number, half: number, codes: Uint8Array): number {
  const most = farthest(values, at, count);
  if (Math.abs(most) < tiny) {
    codes.fill(0, at, at + count);
    return 0;
  }
  findPowers(values, at, count);
  roundGroup(values, at, count, half, round(-half / most));
  keep(codes, at, count);
  let scale = sums.l2 === 0 ? 0 : round(sums.xl / sums.l2);
  let best = round(scale * sums.xl);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    roundGroup(values, at, count, half, round(-round(half + round(tenth * step)) / most));
    const { xl, l2 } = sums;
    if (l2 > 0 && round(xl * xl) > round(best * l2)) {
      keep(codes, at, count);
      scale = round(xl / l2);
      best = round(scale * xl);
    }
  }
  return scale;
}

/**
 * The same problem solved by moving one code at a time while that helps, at most five rounds; better than a search over scales where
 * codes are few.
 */
export function descendSymmetric(values: Float32Array, at: number, count: number, half: number, codes: Uint8Array): number {
  const most = farthest(values, at, count);
  if (Math.abs(most) < tiny) {
    codes.fill(0, at, at + count);
    return 0;
  }
  findPowers(values, at, count);
  roundGroup(values, at, count, half, round(-half / most));
  keep(codes, at, count);
  let { xl, l2 } = sums;
  let changed = true;
  for (let turn = 0; turn < 5 && changed; turn++) {
    changed = false;
    for (let i = 0; i < count; i++) {
      const value = values[at + i] as number;
      const square = squares[i] as number;
      const cube = cubes[i] as number;
      const level = (codes[at + i] as number) - half;
      let otherXL = round(xl - round(cube * level));
      if (!(otherXL > 0)) continue;
      let otherL2 = round(l2 - round(round(square * level) * level));
      const moved = clamp(nearest(round(round(value * otherL2) / otherXL)), -half, half - 1);
      if (moved === level) continue;
      otherXL = round(otherXL + round(cube * moved));
      otherL2 = round(otherL2 + round(round(square * moved) * moved));
      if (otherL2 > 0 && round(round(otherXL * otherXL) * l2) > round(round(xl * xl) * otherL2)) {
        codes[at + i] = moved + half;
        xl = otherXL;
        l2 = otherL2;
        changed = true;
      }
    }
  }
  return l2 > 0 ? round(xl / l2) : 0;
}
