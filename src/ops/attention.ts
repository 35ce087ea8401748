// Attention of flat rows: row r sees the key rows first[r]..last[r], so packed sequences, ragged prefill and decoding are one op.
// `attention` is differentiable and takes contiguous keys and values; `attentionStrided` reads them out of a cache or out of rows that
// hold both (MLA's absorbed form) and has no gradient. Both find keys in the pages of a cache when they are given a table.

import { type CacheType, cacheRowWords } from "../core/dtype.ts";
import { showShape } from "../core/shape.ts";
import { addGrad, attach, gradToAddTo } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { isTrackingGradients } from "../tensor/tracking.ts";
import { expectIndices, expectNumbers, expectOneDevice, expectRank, expectWhole, wrong } from "./check.ts";
import { fillWith } from "./fill.ts";

/**
 * Where the keys of a sequence lie when they are scattered over pages of `size` rows: key j of row r is row j mod size of page
 * table[slot[r], ⌊j / size⌋]. Devices bound every index.
 */
export type KeyPages = {
  /** i32 [tables, pages of the longest]; entries that no key needs may hold anything. */
  readonly table: Tensor;
  /** i32 [R]: which row of the table is that of each query. */
  readonly slot: Tensor;
  readonly size: number;
};

export type AttentionOptions = {
  /** i32 [R]: first and last key row of each row, inclusive; first > last gives zeros. Devices clamp them to 0..S-1. With pages: keys of the sequence. */
  readonly first: Tensor;
  readonly last: Tensor;
  /** Factor of the scores, e.g. 1/sqrt(D). */
  readonly scale: number;
  /** Equal parts of rows and key rows without attention between them: the backward pass's unit of parallel work. Default 1. */
  readonly parts?: number;
  /** Without gradient. */
  readonly pages?: KeyPages | undefined;
};

/** q [R, H, D], k [S, G, D], v [S, G, Dv] -> [R, H, Dv]. H is a multiple of G. */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const { first, last, scale, parts = 1 } = options;
  expectNumbers("attention", "q", q);
  expectNumbers("attention", "k", k);
  expectNumbers("attention", "v", v);
  expectRank("attention", "q", q, 3, "R, H, D");
  expectRank("attention", "k", k, 3, "S, G, D");
  expectRank("attention", "v", v, 3, "S, G, Dv");
  const [R, H, D] = q.shape as [number, number, number];
  const [S, G] = k.shape as [number, number, number];
  const Dv = v.shape[2] as number;
  if (k.shape[2] !== D)
    throw wrong("attention", `q ${showShape(q.shape)} with k ${showShape(k.shape)}`, `k [S, G, ${D}]`, "give q and k one head size");
  if (v.shape[0] !== S || v.shape[1] !== G) {
    throw wrong(
      "attention",
      `k ${showShape(k.shape)} with v ${showShape(v.shape)}`,
      `v [${S}, ${G}, Dv]`,
      "give k and v the same rows and heads",
    );
  }
  expectHeads("attention", H, G);
  expectIndices("attention", "first", first, [R]);
  expectIndices("attention", "last", last, [R]);
  expectWhole("attention", "parts", parts, 1, Math.max(R, 1));
  if (R % parts !== 0 || S % parts !== 0)
    throw wrong(
      "attention",
      `${parts} parts of ${R} rows and ${S} key rows`,
      "equal parts",
      "give all sequences one length, or leave parts out",
    );
  for (const other of [k, v, first, last]) expectOneDevice("attention", q, other);
  const paged = options.pages && pagesOf("attention", options.pages, q);
  if (paged && isTrackingGradients())
    throw wrong("attention", "keys in pages while gradients are tracked", "one of the two", "train without a cache");
  const { device } = q.storage;
  const out = empty(device, [R, H, Dv]);
  if (R * H * Dv === 0 || S === 0) return attach("attention", fillWith(out, 0), [q, k, v], () => {}); // nothing to see
  const lse = empty(device, [R, H]);
  const sizes = { R, S, H, G, D, Dv, scale, kRowStride: G * D, kHeadStride: D, vRowStride: G * Dv, vHeadStride: Dv };
  device.kernels.attention({
    out: view(out),
    lse: view(lse),
    q: view(q),
    k: view(k),
    v: view(v),
    first: view(first),
    last: view(last),
    ...sizes,
    ...paged,
  });
  attach("attention", out, [q, k, v], (dOut) => {
    const dq = empty(device, q.shape);
    const dk = gradToAddTo(k) ?? empty(device, k.shape);
    const ownV = k === v ? undefined : gradToAddTo(v); // the kernel's outputs may not overlap
    const dv = ownV ?? fillWith(empty(device, v.shape), 0);
    device.kernels.attentionBackward({
      dq: view(dq),
      dk: view(dk),
      dv: view(dv),
      dOut: view(dOut),
      out: view(out),
      lse: view(lse),
      q: view(q),
      k: view(k),
      v: view(v),
      first: view(first),
      last: view(last),
      batch: parts,
      ...sizes,
      dkRowStride: G * D,
      dkHeadStride: D,
      dvRowStride: G * Dv,
      dvHeadStride: Dv,
    });
    addGrad(q, dq);
    if (!ownV) addGrad(v, dv);
  });
  if (!out.node) lse.storage.free();
  return out;
}

/**
 * Rows inside a larger tensor: element (row, head, d) lies at offset + row·rowStride + head·headStride + d. In a narrow cache (i32) a row has rowStride words, and
 * headStride counts numbers in it; offset is 0.
 */
export type Strided = { readonly tensor: Tensor; readonly rowStride: number; readonly headStride: number; readonly offset: number };

export type AttentionStridedInput = {
  /** [R, H, D]. */
  readonly q: Tensor;
  readonly k: Strided;
  readonly v: Strided;
  /** i32 [R], as for attention. */
  readonly first: Tensor;
  readonly last: Tensor;
  /** Key rows, key heads, size of a value head. */
  readonly S: number;
  readonly G: number;
  readonly Dv: number;
  readonly scale: number;
  readonly pages?: KeyPages | undefined;
  /** What k and v hold. Default f32. */
  readonly type?: CacheType;
};

/** Attention over strided keys and values -> [R, H, Dv]. No gradient. */
export function attentionStrided(input: AttentionStridedInput): Tensor {
  const { q, k, v, first, last, S, G, Dv, scale, type = "f32" } = input;
  expectNumbers("attentionStrided", "q", q);
  expectRank("attentionStrided", "q", q, 3, "R, H, D");
  const [R, H, D] = q.shape as [number, number, number];
  expectWhole("attentionStrided", "S", S, 0, Number.MAX_SAFE_INTEGER);
  expectWhole("attentionStrided", "Dv", Dv, 0, Number.MAX_SAFE_INTEGER);
  expectHeads("attentionStrided", H, G);
  expectInside("k", k, S, G, D, type);
  expectInside("v", v, S, G, Dv, type);
  expectIndices("attentionStrided", "first", first, [R]);
  expectIndices("attentionStrided", "last", last, [R]);
  for (const other of [k.tensor, v.tensor, first, last]) expectOneDevice("attentionStrided", q, other);
  const paged = input.pages && pagesOf("attentionStrided", input.pages, q);
  const { device } = q.storage;
  const out = empty(device, [R, H, Dv]);
  if (R * H * Dv === 0 || S === 0) return fillWith(out, 0);
  const lse = empty(device, [R, H]);
  device.kernels.attention({
    out: view(out),
    lse: view(lse),
    q: view(q),
    k: { buffer: k.tensor.storage.buffer, offset: k.tensor.offset + k.offset },
    v: { buffer: v.tensor.storage.buffer, offset: v.tensor.offset + v.offset },
    first: view(first),
    last: view(last),
    R,
    S,
    H,
    G,
    D,
    Dv,
    scale,
    kRowStride: k.rowStride,
    kHeadStride: k.headStride,
    vRowStride: v.rowStride,
    vHeadStride: v.headStride,
    cacheType: type,
    ...paged,
  });
  lse.storage.free();
  return out;
}

/** The kernel's arguments for keys in pages. */
function pagesOf(operation: string, { table, slot, size: pageSize }: KeyPages, q: Tensor) {
  expectRank(operation, "pages.table", table, 2, "tables, pages");
  expectIndices(operation, "pages.table", table, table.shape);
  expectIndices(operation, "pages.slot", slot, [q.shape[0] as number]);
  expectWhole(operation, "pages.size", pageSize, 1, 1048576);
  expectOneDevice(operation, q, table);
  expectOneDevice(operation, q, slot);
  const [tables, tableStride] = table.shape as [number, number];
  return { pages: view(table), slot: view(slot), tables, tableStride, pageSize };
}

function expectHeads(operation: string, H: number, G: number): void {
  if (!Number.isInteger(G) || G < 1 || H % G !== 0)
    throw wrong(
      operation,
      `${H} heads over ${G} key heads`,
      "a multiple of the key heads",
      "check num_attention_heads and num_key_value_heads",
    );
}

function expectInside(name: string, x: Strided, S: number, G: number, D: number, type: CacheType): void {
  if (type !== "f32") {
    expectNarrow(name, x, S, (G - 1) * x.headStride + D, type);
    return;
  }
  expectNumbers("attentionStrided", name, x.tensor);
  for (const stride of [x.rowStride, x.headStride, x.offset])
    expectWhole("attentionStrided", `a stride or offset of ${name},`, stride, 0, Number.MAX_SAFE_INTEGER);
  const end = S * D === 0 ? 0 : x.offset + (S - 1) * x.rowStride + (G - 1) * x.headStride + D;
  if (end > size(x.tensor)) {
    throw wrong(
      "attentionStrided",
      `${name} ${showShape(x.tensor.shape)} read up to element ${end}`,
      `at most ${size(x.tensor)}`,
      "check S and the strides",
    );
  }
}

/** `width`: numbers of a row that are read. */
function expectNarrow(name: string, { tensor, rowStride, headStride, offset }: Strided, S: number, width: number, type: CacheType): void {
  expectWhole("attentionStrided", `the head stride of ${name},`, headStride, 0, Number.MAX_SAFE_INTEGER);
  if (tensor.dtype === "i32" && offset === 0 && rowStride >= cacheRowWords(type, width) && S * rowStride <= size(tensor)) return;
  throw wrong(
    "attentionStrided",
    `${name} ${tensor.dtype} ${showShape(tensor.shape)} as ${S} rows of ${rowStride} words, from ${offset}`,
    `i32 rows of at least ${cacheRowWords(type, width)} words for ${width} numbers of ${type}, from 0`,
    "use a cache made by this model's makeCache",
  );
}
