// Pieces of WGSL that attention and its gradients share. A group of 64 invocations owns 4 or 16 vectors (queries, or keys in the gradients) and meets others in blocks of 64.
// `dots` gives the products of all pairs: vectors come in slices of 16 elements into workgroup memory, every pair sums in four lanes of one chain each, whatever
// the number of own vectors. `mix` sums others' vectors, each pair with its weight, in one chain over the others; an invocation has a column of it.
//
// Names in the text: `local`; x, y: the invocation's others are x + c·spread(own), its own vectors 4·y .. 4·y + 3.

export const groupSize = 64;
/** Others of a block. */
export const others = 64;
const depth = 16;

export type Own = 4 | 16;

/** Lines for each i < count. */
export function each(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => line(i)).join("\n");
}

/** Others of an invocation, x + c·spread for c < columns. */
export const columns = (own: Own) => own / 4;
export const spread = (own: Own) => others / columns(own);

export const tileDeclarations = (own: Own) => `
var<workgroup> other_tile: array<vec4f, ${(others * depth) / 4}>;
var<workgroup> own_tile: array<vec4f, ${(own * depth) / 4}>;
fn lanes(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn is_nan4(v: vec4f) -> vec4<bool> { return (bitcast<vec4u>(v) & vec4u(0x7fffffff)) > vec4u(0x7f800000); }
fn larger4(a: vec4f, b: vec4f) -> vec4f { return select(select(b, a, (a > b) | is_nan4(a)), b, is_nan4(b)); }
fn exp4(v: vec4f) -> vec4f { return vec4f(exp_of(v.x), exp_of(v.y), exp_of(v.z), exp_of(v.w)); }`;

export const tilePlaces = (own: Own) => `
  let x = local % ${spread(own)};
  let y = local / ${spread(own)};`;

type Dots = {
  /** The vec4f for column c are `${name}_${c}`. */
  readonly name: string;
  readonly own: Own;
  /** Elements of a vector, the same for the whole group. */
  readonly width: string;
  /** Elements d .. d + 3 of a vector as vec4f, zeros behind the width. */
  readonly ownVector: (own: string, d: string) => string;
  readonly otherVector: (other: string, d: string) => string;
  /** Vectors are integers in blocks of 32 elements, whose products are summed exactly and then scaled. Own and other scale of the block of element d; they lie in workgroup memory meanwhile. */
  readonly scales?: { readonly own: (own: string, d: string) => string; readonly other: (other: string, d: string) => string };
};

export const scaleDeclarations = (own: Own) => `
var<workgroup> own_scale: array<f32, ${own}>;
var<workgroup> other_scale: array<f32, ${others}>;`;

/** Products of own vectors with 64 others; barriers before and between, none behind. */
export function dots({ name, own, width, ownVector, otherVector, scales }: Dots): string {
  const pairs = (line: (c: number, r: number) => string) => each(columns(own), (c) => each(4, (r) => line(c, r)));
  const vector = (of: (r: number) => string) => `vec4f(${[0, 1, 2, 3].map(of).join(", ")})`;
  const other = (c: number) => `x + ${c * spread(own)}`;
  return `
${pairs((c, r) => `  var ${name}_sum_${c}_${r} = vec4f();`)}
${each(columns(own), (c) => `  var ${name}_${c} = vec4f();`)}
  for (var d0 = 0u; d0 < ${width}; d0 += ${depth}) {
    workgroupBarrier();
    for (var e = local; e < ${(others * depth) / 4}; e += ${groupSize}) {
      other_tile[e % 4u * ${others} + e / 4u] = ${otherVector("e / 4u", "d0 + e % 4u * 4u")};
    }
    if (local < ${(own * depth) / 4}) { own_tile[local % 4u * ${own} + local / 4u] = ${ownVector("local / 4u", "d0 + local % 4u * 4u")}; }
${
  scales
    ? `    if (d0 % 32 == 0) {
      other_scale[local] = ${scales.other("local", "d0")};
      if (local < ${own}) { own_scale[local] = ${scales.own("local", "d0")}; }
    }`
    : ""
}
    workgroupBarrier();
    for (var v = 0u; v < ${depth / 4}; v++) {
${each(4, (r) => `      let own_${r} = own_tile[v * ${own} + y * 4 + ${r}];`)}
${each(columns(own), (c) => `      let other_${c} = other_tile[v * ${others} + ${other(c)}];`)}
${pairs((c, r) => `      ${name}_sum_${c}_${r} = fma(own_${r}, other_${c}, ${name}_sum_${c}_${r});`)}
    }
${
  scales
    ? `    if (d0 % 32 == 16 || d0 + ${depth} >= ${width}) {
      let own_scales = ${vector((r) => `own_scale[y * 4 + ${r}]`)};
${each(columns(own), (c) => `      ${name}_${c} = fma(${vector((r) => `lanes(${name}_sum_${c}_${r})`)}, own_scales * other_scale[${other(c)}], ${name}_${c});`)}
${pairs((c, r) => `      ${name}_sum_${c}_${r} = vec4f();`)}
    }`
    : ""
}
  }
${scales ? "" : each(columns(own), (c) => `  ${name}_${c} = ${vector((r) => `lanes(${name}_sum_${c}_${r})`)};`)}`;
}

type Mix = {
  /** Sums to add to, `${name}_${v}` for own vectors 4·v .. 4·v + 3, declared before. */
  readonly name: string;
  readonly own: Own;
  /** Array of vec4f in workgroup memory: [other][own / 4]. */
  readonly weights: string;
  /** Others from .. to - 1. */
  readonly from: string;
  readonly to: string;
  /** The invocation's element of other `o`. */
  readonly value: string;
  /** Which of own vectors 4·v .. may see other `o`: vec4<bool>. What may not be seen may be NaN. Default: all. */
  readonly isSeen?: (v: number) => string;
};

export function mix({ name, own, weights, from, to, value, isSeen }: Mix): string {
  return `
  for (var o = ${from}; o < ${to}; o++) {
    let value = vec4f(${value});
${each(own / 4, (v) => {
  const sum = `fma(${weights}[o * ${own / 4} + ${v}], value, ${name}_${v})`;
  return `    ${name}_${v} = ${isSeen ? `select(${name}_${v}, ${sum}, ${isSeen(v)})` : sum};`;
})}
  }`;
}
