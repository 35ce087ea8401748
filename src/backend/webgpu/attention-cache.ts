// Keys and values as attention reads them, whatever the cache holds them in (backend.ts, cacheWrite), and queries as they meet them. f32 and f16 give floats. Keys of q8_0 give
// the integers of blocks with the scales apart, and queries are rounded to the same blocks before, in a dispatch of their own.

import type { CacheType } from "../../core/dtype.ts";
import type { Kernels, View } from "../backend.ts";
import { blockRoundingText } from "./block-rounding.ts";
import { type Accessor, type ElementType, type Operand, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function readCache(view: View, type: CacheType): Operand {
  return read(view, elementOf(type));
}

function elementOf(type: CacheType): ElementType {
  return type === "f32" ? "f32" : "u32";
}

/** WGSL: `${name}_number(row, element)`, a number of a cached row. */
export function numberText(name: string, x: Accessor, stride: string, type: CacheType): string {
  const word = (index: string) => x(`row * ${stride} + ${index}`);
  const bodies: Record<CacheType, string> = {
    f32: `return ${word("element")};`,
    f16: `
  let half = (${word("1u + element / 2u")} >> (element % 2u * 16u)) & 0xffffu;
  let magnitude = select((half & 0x7fffu) << 13u, 0u, (half & 0x7c00u) == 0u);
  return bitcast<f32>(magnitude | ((half & 0x8000u) << 16u)) * bitcast<f32>(${word("0u")});`,
    q8_0: `
  let block = element / 32u * 9u;
  let byte = (${word("block + 1u + element % 32u / 4u")} >> (element % 4u * 8u)) & 255u;
  return f32(i32(byte) - 128) * bitcast<f32>(${word("block")});`,
  };
  return `fn ${name}_number(row: u32, element: u32) -> f32 { ${bodies[type]} }`;
}

/** WGSL: `${name}_vector(row, head, d)`: elements head + d .. of a row of floats as vec4f, zeros from d = width on. Needs numberText. */
export function vectorText(name: string, width: string): string {
  return `
fn ${name}_vector(row: u32, head: u32, d: u32) -> vec4f {
  let at = head + d;
  if (d + 4 <= ${width}) {
    return vec4f(${name}_number(row, at), ${name}_number(row, at + 1), ${name}_number(row, at + 2), ${name}_number(row, at + 3));
  }
  var v = vec4f();
  for (var k = 0u; k < 4 && d + k < ${width}; k++) { v[k] = ${name}_number(row, at + k); }
  return v;
}`;
}

/** WGSL for q8_0, `element` a multiple of 4: `${name}_integers(row, element)` as vec4f and `${name}_scale(row, element)`. */
export function integersText(name: string, x: Accessor, stride: string): string {
  return `
fn ${name}_integers(row: u32, element: u32) -> vec4f {
  let word = ${x(`row * ${stride} + element / 32u * 9u + 1u + element % 32u / 4u`)};
  return vec4f((vec4u(word) >> vec4u(0, 8, 16, 24)) & vec4u(255)) - 128.0;
}
fn ${name}_scale(row: u32, element: u32) -> f32 { return bitcast<f32>(${x(`row * ${stride} + element / 32u * 9u`)}); }`;
}

/** Blocks of 32 that the numbers of a head can lie in. */
export function queryBlocks(D: number): number {
  return Math.ceil((D + 31) / 32);
}

/** Floats of a rounded query: its integers in whole blocks of the cached row, zeros where the blocks hold numbers of other heads; then a scale for each block. */
export function roundedQueryLength(D: number): number {
  return 33 * queryBlocks(D);
}

type AttentionArgs = Parameters<Kernels["attention"]>[0];

/** Rounds queries to the blocks of q8_0. rounded [R·H, roundedQueryLength(D)]. */
export function roundQueries(recorder: Recorder, rounded: View, { q, R, H, G, D, kHeadStride }: AttentionArgs): void {
  const blocks = queryBlocks(D);
  recorder.run({
    kernel: "attention queries",
    operands: { rounded: write(rounded), q: read(q) },
    integers: { H, perGroup: H / G, D, kHeadStride, blocks },
    invocations: R * H * blocks,
    work: R * H * blocks * 32,
    text: ({ rounded, q }) => ({
      declarations: blockRoundingText,
      body: `
  let cell = i / p.blocks;
  let b = i % p.blocks;
  // Element e of the blocks is number e - begin of the head.
  let begin = cell % p.H / p.perGroup * p.kHeadStride % 32u;
  let query = cell * p.D - begin;
  var top = 0u;
  for (var e = max(32u * b, begin); e < min(32u * b + 32u, begin + p.D); e++) { top = max(top, magnitude(${q("query + e")})); }
  let inverse = block_inverse(top);
  let to = cell * (33u * p.blocks);
  for (var e = 32u * b; e < 32u * b + 32u; e++) {
    var integer = 0;
    if (e >= begin && e < begin + p.D) { integer = block_integer(${q("query + e")}, inverse); }
    ${rounded("to + e")} = f32(integer);
  }
  ${rounded("to + 32u * p.blocks + b")} = block_scale(top);`,
    }),
  });
}
