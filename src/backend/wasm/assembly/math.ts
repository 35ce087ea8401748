// Vector mathematics: exp by range reduction and a degree-6 polynomial (Cephes coefficients; relative error below 3e-7), multiply-add
// that is fused in the relaxed build, sums of lanes in one fixed order. Only operations that V8 can fuse in pairs (see matmul-tiles.ts).

/** a·b + c: fused where the build allows it. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

/** (l0 + l2) + (l1 + l3). */
// @ts-ignore: decorator
@inline
export function sumLanes(x: v128): f32 {
  const pair = f32x4.add(x, i32x4.shuffle(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(pair, i32x4.shuffle(pair, pair, 1, 0, 3, 2)), 0);
}

// @ts-ignore: decorator
@inline
export function maxLanes(x: v128): f32 {
  const pair = f32x4.max(x, i32x4.shuffle(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.max(pair, i32x4.shuffle(pair, pair, 1, 0, 3, 2)), 0);
}

/**
 * Constants of the vector functions, in memory: V8 builds a v128 constant anew wherever it is used, six instructions that all wait for one
 * port, while a broadcast load is one. `prepare` writes them before a thread runs anything.
 */
const TABLE: usize = 1024;
/** 1.5·2^23: adding it to a small number rounds that to an integer, which then stands in the low bits. */
export const ROUND: usize = TABLE;
const ONE: usize = TABLE + 4;
const LOG2E: usize = TABLE + 8;
/** ln 2 in two parts: the first has few bits, so that n·part is exact. */
const LN2_HIGH: usize = TABLE + 12;
const LN2_LOW: usize = TABLE + 16;
const EXP_HIGHEST: usize = TABLE + 20;
const EXP_LOWEST: usize = TABLE + 24;
const NORMAL_HIGHEST: usize = TABLE + 28;
const NORMAL_LOWEST: usize = TABLE + 32;
/** The polynomial, highest degree first. */
const P: usize = TABLE + 36;

export const EXP2_LOWEST: usize = TABLE + 60;
/** The polynomial of 2^x, highest degree first, without its last coefficient 1: least largest relative error on -0.5 .. 0.5, 9.2e-8. */
export const P2: usize = TABLE + 64;

/** Writes the constants; every thread writes the same. */
export function prepare(): void {
  store<f32>(ROUND, 12582912);
  store<f32>(ONE, 1);
  store<f32>(LOG2E, 1.44269504088896341);
  store<f32>(LN2_HIGH, 0.693359375);
  store<f32>(LN2_LOW, -2.12194440e-4);
  store<f32>(EXP_HIGHEST, 88.8);
  store<f32>(EXP_LOWEST, -104);
  store<f32>(NORMAL_HIGHEST, 87.3);
  store<f32>(NORMAL_LOWEST, -87.3);
  store<f32>(P, 1.9875691500e-4);
  store<f32>(P, 1.3981999507e-3, 4);
  store<f32>(P, 8.3334519073e-3, 8);
  store<f32>(P, 4.1665795894e-2, 12);
  store<f32>(P, 1.6666665459e-1, 16);
  store<f32>(P, 5.0000001201e-1, 20);
  store<f32>(EXP2_LOWEST, -126);
  store<f32>(P2, 1.326472708878775e-3);
  store<f32>(P2, 9.671512861878347e-3, 4);
  store<f32>(P2, 5.5507337456144556e-2, 8);
  store<f32>(P2, 2.4022242081849038e-1, 12);
  store<f32>(P2, 6.931469775966121e-1, 16);
}

// @ts-ignore: decorator
@inline
export function one4(): v128 {
  return v128.load32_splat(ONE);
}

/** round(x / ln 2) + ROUND. */
// @ts-ignore: decorator
@inline
function shiftedExponent(x: v128): v128 {
  return f32x4.add(f32x4.mul(x, v128.load32_splat(LOG2E)), v128.load32_splat(ROUND));
}

/** e^(x - n·ln 2), where n + ROUND is given. */
// @ts-ignore: decorator
@inline
function expRest(x: v128, shifted: v128): v128 {
  const n = f32x4.sub(shifted, v128.load32_splat(ROUND));
  let r = f32x4.sub(x, f32x4.mul(n, v128.load32_splat(LN2_HIGH)));
  r = f32x4.sub(r, f32x4.mul(n, v128.load32_splat(LN2_LOW)));
  let p = madd(v128.load32_splat(P), r, v128.load32_splat(P, 4));
  p = madd(p, r, v128.load32_splat(P, 8));
  p = madd(p, r, v128.load32_splat(P, 12));
  p = madd(p, r, v128.load32_splat(P, 16));
  p = madd(p, r, v128.load32_splat(P, 20));
  return madd(p, f32x4.mul(r, r), f32x4.add(r, one4()));
}

/** e^x in each lane; 0 below -104, +Infinity above 88.7, NaN kept (pmin and pmax give x where the comparison is false). */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const limited = f32x4.pmax(f32x4.pmin(x, v128.load32_splat(EXP_HIGHEST)), v128.load32_splat(EXP_LOWEST));
  const shifted = shiftedExponent(limited);
  // 2^n in two factors, so that results near the ends neither overflow nor vanish early.
  const n = i32x4.sub(shifted, v128.load32_splat(ROUND));
  const half = i32x4.shr_s(n, 1);
  return f32x4.mul(f32x4.mul(expRest(limited, shifted), power2(half)), power2(i32x4.sub(n, half)));
}

/** e^x for x of at most 87.3 (a softmax's differences from the largest): 0 below -87.3, NaN kept. */
// @ts-ignore: decorator
@inline
export function expNegative4(x: v128): v128 {
  const least = v128.load32_splat(NORMAL_LOWEST);
  return v128.andnot(expNormal4(f32x4.pmax(x, least)), f32x4.lt(x, least));
}

/** e^x for -87.3 <= x <= 87.3 or NaN: 2^n is one float, made of its exponent. */
// @ts-ignore: decorator
@inline
function expNormal4(x: v128): v128 {
  const shifted = shiftedExponent(x);
  return f32x4.mul(expRest(x, shifted), power2(shifted));
}

/** 2^n from n, or from n + ROUND: the shift leaves the low bits alone. The bits of 1 are those of exponent 0. */
// @ts-ignore: decorator
@inline
function power2(n: v128): v128 {
  return i32x4.add(i32x4.shl(n, 23), one4());
}

/** 2^x for x of at most 126 (relative error below 2e-7): 2^-126 below -126, NaN kept. */
// @ts-ignore: decorator
@inline
export function exp2Negative4(x: v128): v128 {
  const p0 = v128.load32_splat(P2);
  const p1 = v128.load32_splat(P2, 4);
  const p2 = v128.load32_splat(P2, 8);
  const p3 = v128.load32_splat(P2, 12);
  const p4 = v128.load32_splat(P2, 16);
  return exp2With(x, v128.load32_splat(EXP2_LOWEST), v128.load32_splat(ROUND), p0, p1, p2, p3, p4, one4());
}

/** The same with the constants given, for loops that keep them in registers: a load from shared memory is never moved out of a loop that stores. */
// @ts-ignore: decorator
@inline
export function exp2With(x: v128, lowest: v128, rounder: v128, p0: v128, p1: v128, p2: v128, p3: v128, p4: v128, one: v128): v128 {
  const limited = f32x4.pmax(x, lowest);
  const shifted = f32x4.add(limited, rounder);
  const r = f32x4.sub(limited, f32x4.sub(shifted, rounder));
  const p = madd(madd(madd(madd(madd(p0, r, p1), r, p2), r, p3), r, p4), r, one);
  // p·2^n: n is added to the exponent. The result is never below 2^-126, and the low bits of a NaN that arithmetic makes are 0.
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

// @ts-ignore: decorator
@inline
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

/** 1 / (1 + e^-x), never below 1e-38. */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const limited = f32x4.pmax(f32x4.pmin(f32x4.neg(x), v128.load32_splat(NORMAL_HIGHEST)), v128.load32_splat(NORMAL_LOWEST));
  return f32x4.div(one4(), f32x4.add(one4(), expNormal4(limited)));
}

/** Natural logarithm in double precision without tables: exponent and the atanh series of the mantissa (error below 1e-13). */
export function log(x: f64): f64 {
  if (!(x > 0)) return x == 0 ? -Infinity : NaN;
  if (x == Infinity) return Infinity;
  let exponent: f64 = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984; // 2^54
    exponent = -54;
  }
  const bits = reinterpret<u64>(x);
  exponent += <f64>(<i64>((bits >> 52) & 0x7ff) - 1023);
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent += 1;
  }
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let sum: f64 = 1.0 / 19;
  sum = sum * z + 1.0 / 17;
  sum = sum * z + 1.0 / 15;
  sum = sum * z + 1.0 / 13;
  sum = sum * z + 1.0 / 11;
  sum = sum * z + 1.0 / 9;
  sum = sum * z + 1.0 / 7;
  sum = sum * z + 1.0 / 5;
  sum = sum * z + 1.0 / 3;
  sum = sum * z + 1;
  return exponent * 0.6931471805599453 + 2 * s * sum;
}
