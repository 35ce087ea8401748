// What the products of few and of many rows share, as WGSL: which expert a row or tile of rows belongs to, sums of products of bytes, and what of a block of 32 joins an
// element's chain: for each run the exact sum of integers times (the weights' scale times x's), then the minimum times (x's scale times the sum of x's integers).

import type { PackedType } from "../../core/dtype.ts";
import type { Codes } from "./packed-codes.ts";
import type { Accessor, Operand } from "./program.ts";

/** What a product's kernel is recorded from. For block types `rows` are those of packed-rows.ts, else x as it is. */
export type Ready<T extends PackedType = PackedType> = {
  readonly kernel: string;
  readonly type: T;
  readonly S: number;
  readonly E: number;
  readonly N: number;
  readonly K: number;
  readonly operands: {
    readonly out: Operand;
    readonly rows: Operand;
    readonly w: Operand;
    readonly w4: Operand;
    readonly offsets: Operand | undefined;
  };
  readonly integers: Readonly<Record<string, number>>;
};

/** dot4 and dot16: products of signed bytes, four and 16 of them, summed. `isBuiltIn`: the GPU's language has them. */
export function dotText(isBuiltIn: boolean): string {
  const plain = `
  let x = (vec4i(bitcast<i32>(a)) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u);
  let y = (vec4i(bitcast<i32>(b)) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u);
  let products = x * y;
  return products.x + products.y + products.z + products.w;`;
  return `
fn dot4(a: u32, b: u32) -> i32 {${isBuiltIn ? " return dot4I8Packed(a, b); " : plain}}
fn dot16(a: vec4u, b: vec4u) -> i32 { return dot4(a.x, b.x) + dot4(a.y, b.y) + dot4(a.z, b.z) + dot4(a.w, b.w); }`;
}

/** A run's sum of integers, from that of the codes as they lie. */
export function runSum({ offset }: Codes, products: string, rowSum: string): string {
  return offset === 0 ? products : `${products} - ${offset} * ${rowSum}`;
}

/** One run joins the chain `sum`. */
export function joinChain(
  { minimum }: Codes,
  sum: string,
  f: { integers: string; scale: string; minimum: string; rowSum: string },
): string {
  const scaled = `${sum} = fma(${f.integers}, ${f.scale}, ${sum});`;
  return minimum ? `${scaled} ${sum} = fma(${f.minimum}, ${f.rowSum}, ${sum});` : scaled;
}

/**
 * first_row(e): where the rows of expert e begin, within 0..S. expert_of(tile): the expert whose rows tile `tile` holds, where each expert's tiles of `height` rows begin at
 * number ⌊first_row / height⌋ + e: one more than it may need (with height 1, tiles are rows, none more). Without offsets all rows belong to expert 0.
 */
export function expertText(offsets: Accessor | undefined, height: number): string {
  if (!offsets) {
    return `
fn first_row(e: u32) -> u32 { return select(p.S, 0u, e == 0u); }
fn expert_of(tile: u32) -> u32 { return 0u; }`;
  }
  return `
fn first_row(e: u32) -> u32 { return u32(clamp(${offsets("e")}, 0, i32(p.S))); }
fn expert_of(tile: u32) -> u32 {
  var low = 0u;
  var high = p.E;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (${height === 1 ? "first_row(middle)" : `first_row(middle) / ${height}u + middle`} <= tile) { low = middle; } else { high = middle; }
  }
  return low;
}`;
}
