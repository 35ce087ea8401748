// The kernel contract: what every device must offer. Interface only; it imports no implementation.
//
// A device allocates buffers, records commands, submits them and reads back. Recording never waits; reading is the
// only await. Commands run in the order in which they were recorded. A command's inputs may be freed as soon as it
// is recorded. Kernels validate nothing but what is cheap: ops/ checks shapes before it records, and
// every kernel that follows indices says in its comment who bounds them (each device bounds them before use).
//
// Conventions. All numbers are f32 unless said otherwise; i32 marks indices. Everything is contiguous row-major
// unless strides are given. A View is a buffer and an element offset. Outputs may not overlap inputs unless
// "in place allowed" is written. `accumulate: true` adds to what the output holds.
//
// The bitwise law: one output element is a fixed function of its inputs. It does not depend on the number of rows in the call,
// on the other rows, on the thread count or on tiling: every sum runs over k in ascending order in one chain (or in the fixed
// blocks that the kernel names). So a decoded token and a trained token get the same bits.
//
// Error bounds are stated per kernel where rounding adds up (test/backend/catastrophic.test.ts), with u = 2^-24, half a unit of f32, and Σ|t| the sum of the
// magnitudes of the terms; what cancels is not in it, so a sum of alternating sign is as exact as its terms, not as its value.

import type { CacheType, DType, HostArray, PackedType } from "../core/dtype.ts";

/** The operation of the DeviceError of a device that has no memory left, for callers that can say what would fit. */
export const noMemory = "allocate on the device";

/** Device memory; fields beyond these belong to the device. */
export interface DeviceBuffer {
  readonly dtype: DType | PackedType;
  /** Elements. */
  readonly length: number;
}

export type View = { readonly buffer: DeviceBuffer; readonly offset: number };

export type BinaryKind = "add" | "sub" | "mul" | "div" | "min" | "max" | "lessEqual" | "less";
export type UnaryKind = "neg" | "exp" | "log" | "sqrt" | "reciprocal" | "sigmoid" | "silu" | "tanh" | "square" | "abs";

export interface Kernels {
  // ---- memory -------------------------------------------------------------------------------------------------
  /** out[i] = value, i < n. f32, or i32 with an integer value. */
  fill(a: { out: View; n: number; value: number }): void;
  /**
   * Strided copy over at most 4 dimensions: out[Σ i_d·outStrides_d] = x[Σ i_d·xStrides_d]. An x stride of 0 broadcasts; out strides
   * must address distinct elements. f32 or i32 alike; accumulate is f32 only.
   */
  copy(a: {
    out: View;
    x: View;
    shape: readonly number[];
    outStrides: readonly number[];
    xStrides: readonly number[];
    accumulate?: boolean;
  }): void;
  /** out[r] = x[index[r]] by rows of `width`. x has `xRows` rows; an index outside 0..xRows-1 gives a row of zeros. f32 or i32 alike. */
  gatherRows(a: { out: View; x: View; index: View; rows: number; width: number; xRows: number }): void;
  /** out[index[r]] = x[r]. Indices must be distinct; those outside 0..outRows-1 are skipped. f32 or i32 alike. */
  scatterRows(a: { out: View; x: View; index: View; rows: number; width: number; outRows: number }): void;

  /**
   * cache[index[r]] = x[r], rounded: x [rows, width] f32, cache [cacheRows, cacheRowWords(type, width)] i32 words. Indices as for scatterRows. What is stored depends on the row alone:
   * f16: one f32 factor F, then `width` 16-bit floats h, little-endian; the number is F·2^-112·h. F·2^-112 is the power of two that brings the largest magnitude of the row into 2^14 .. 2^15; h is
   *   the nearest 16-bit float, ties to even, or 0 where the scaled magnitude is below 2^-14. A row with NaN, an infinity or a magnitude of 2^30 or more has F = NaN.
   * q8_0: for each block of 32 (the last one filled up with zeros) an f32 scale s, then 32 bytes q + 128, rounded as packed products round x; the number is s·q in f32.
   * In both a row or block whose largest magnitude is below 1e-30 is 0.
   */
  cacheWrite(a: {
    cache: View;
    x: View;
    index: View;
    rows: number;
    width: number;
    cacheRows: number;
    type: Exclude<CacheType, "f32">;
  }): void;

  // ---- elementwise --------------------------------------------------------------------------------------------
  /**
   * out[i] (+)= a[i] ∘ b[⌊i / bRepeat⌋ mod bPeriod]. Same shape: repeat 1, period n. Row vector: repeat 1, period width. Column: repeat width,
   * period rows. In place on a allowed. lessEqual and less give 1 or 0 (0 for NaN); min and max give NaN when either is NaN.
   */
  binary(a: { kind: BinaryKind; out: View; a: View; b: View; n: number; bRepeat: number; bPeriod: number; accumulate?: boolean }): void;
  /** out[i] = f(x[i]). In place allowed. */
  unary(a: { kind: UnaryKind; out: View; x: View; n: number }): void;
  /** dx[i] (+)= dy[i]·f'(x[i]); abs'(0) = 0. */
  unaryBackward(a: { kind: UnaryKind; dx: View; dy: View; x: View; n: number; accumulate?: boolean }): void;
  /** out[i] (+)= x[i]·scale + shift. In place allowed. */
  affine(a: { out: View; x: View; n: number; scale: number; shift: number; accumulate?: boolean }): void;
  /** out[i] = min(max(x[i], low), high); NaN stays NaN. */
  clamp(a: { out: View; x: View; n: number; low: number; high: number }): void;
  /** dx[i] (+)= dy[i] where low <= x[i] <= high, else 0 (NaN: 0). */
  clampBackward(a: { dx: View; dy: View; x: View; n: number; low: number; high: number; accumulate?: boolean }): void;
  /** out = silu(gate)·up, n elements. (SwiGLU, Shazeer 2020.) */
  swiglu(a: { out: View; gate: View; up: View; n: number }): void;
  /** dGate, dUp are overwritten. */
  swigluBackward(a: { dGate: View; dUp: View; dOut: View; gate: View; up: View; n: number }): void;

  // ---- reductions ---------------------------------------------------------------------------------------------
  /**
   * x [outer, axis, inner] -> out [outer, inner], ascending over axis. Within 260·u·Σ|t| where inner is 1, however long the axis (runs of 1,024 in four
   * lanes, added in double precision); else within axis·u·Σ|t|.
   */
  sumAxis(a: { out: View; x: View; outer: number; axis: number; inner: number; accumulate?: boolean }): void;
  /** out[0] (+)= Σ x², in chunks of 4,096 elements whose partial sums are added in order, in double precision: within 2u of its size. */
  sumSquares(a: { out: View; x: View; n: number; accumulate?: boolean }): void;

  // ---- matrix products ----------------------------------------------------------------------------------------
  /**
   * out[M, N] (+)= A·B, for each of `batch` (default 1) matrices. A is [M, K], or [K, M] with transposeA; B is [K, N], or [N, K]
   * with transposeB (a Hugging Face weight). Batch strides are in elements (0 shares the operand). Each output element is
   * one chain of multiply-adds over k = 0..K-1, begun at 0 (accumulate adds the finished sum to out): within (K+1)·u·Σ|t|. So are all products below.
   * `cacheB`: B is a weight that is used again before it is written: the device may keep a packed copy.
   */
  matmul(a: {
    out: View;
    a: View;
    b: View;
    M: number;
    N: number;
    K: number;
    transposeA?: boolean;
    transposeB?: boolean;
    accumulate?: boolean;
    batch?: number;
    outBatchStride?: number;
    aBatchStride?: number;
    bBatchStride?: number;
    cacheB?: boolean;
  }): void;
  /**
   * Rows sorted by expert e occupy offsets[e]..offsets[e+1]-1 of x [S, K] and out [S, N]: out[s] = w[e]·x[s] with w [E, N, K]
   * (transposeW true) or out[s] = x[s]·w[e] with w [E, K, N] (transposeW false). Rows beyond offsets[E] are left alone.
   * offsets (i32, [E+1], ascending) are on the device; the kernel clamps them to 0..S. Rows before offsets[0] are left alone too.
   */
  groupedMatmul(a: {
    out: View;
    x: View;
    w: View;
    offsets: View;
    S: number;
    E: number;
    N: number;
    K: number;
    transposeW: boolean;
    cacheW?: boolean;
  }): void;
  /** dw[e] [N, K] += Σ over the rows s of expert e of dy[s, n]·x[s, k]: the finished sum is added, an expert without rows adds 0. offsets as above. */
  groupedMatmulWeightGrad(a: { dw: View; dy: View; x: View; offsets: View; S: number; E: number; N: number; K: number }): void;

  // ---- packed weights -----------------------------------------------------------------------------------------
  // `w` and `table` are whole buffers of Device.allocatePacked (offset 0), with the sizes that they were allocated with. f16 and bf16 multiply x as it
  // is: one chain of multiply-adds over k, as matmul. Block types multiply x rounded to 8 bits in blocks of 32 along k: s = max|x|/127,
  // q = x·(127/max) to the nearest integer, ties to even, all in f32 (a block whose max is below 1e-30 has s = 0, q = 0; one with a NaN or an infinity
  // gives NaN). The integer products of a run of weights that share a scale (16 or 32 of them) are summed exactly; the runs are added in ascending
  // order, each with its scales and then its minimum, in one chain. The weights' own values are exact; an infinite scale gives NaN or an infinity.
  /** out[M, N] = x·wᵀ, x [M, K], w packed with 1 matrix of [N, K]. */
  packedMatmul(a: { out: View; x: View; w: View; M: number; N: number; K: number }): void;
  /** groupedMatmul with transposeW for w packed with E matrices of [N, K]. */
  packedGroupedMatmul(a: { out: View; x: View; w: View; offsets: View; S: number; E: number; N: number; K: number }): void;
  /** out[r] = decoded row ids[r] of the packed table, all its matrices' rows counted on; exact. vocab rows in all; ids outside give zeros. */
  packedEmbedding(a: { out: View; table: View; ids: View; rows: number; width: number; vocab: number }): void;

  // ---- network ------------------------------------------------------------------------------------------------
  /** out = x / sqrt(mean(x²) + eps) · weight, per row of `width`: within (width/16 + 8)·u of its size. (Zhang and Sennrich 2019.) */
  rmsNorm(a: { out: View; x: View; weight: View; rows: number; width: number; eps: number }): void;
  /** dx is overwritten; dweight, when given, is added to (chunks of 64 rows, their sums added in order). */
  rmsNormBackward(a: { dx: View; dweight?: View; dy: View; x: View; weight: View; rows: number; width: number; eps: number }): void;
  /**
   * Rotary embedding (Su et al. 2021) of x [rows, heads, width]: of each head the elements offset..offset+dims-1 are rotated by the angle of
   * positions[row], all others are copied. cos, sin [tableRows, dims/2]; positions outside 0..tableRows-1 are clamped (tableRows >= 1, dims even).
   * `interleaved` pairs (2i, 2i+1), DeepSeek's layout; otherwise (i, i + dims/2). `inverse` rotates by minus the angle (the backward pass).
   * Of a pair (a, b) either element is within 3u·(|a| + |b|) of the exact rotation, at position 1,000,000 too: models make the tables in double precision.
   * x and out have row strides xRowStride, outRowStride (elements); heads lie side by side in a row. In place allowed (same offset and stride).
   */
  rope(a: {
    out: View;
    x: View;
    positions: View;
    cos: View;
    sin: View;
    tableRows: number;
    rows: number;
    heads: number;
    width: number;
    offset: number;
    dims: number;
    interleaved: boolean;
    inverse?: boolean;
    xRowStride: number;
    outRowStride: number;
  }): void;
  /** out[r] = table[ids[r]], table [vocab, width]; ids outside give zeros. */
  embedding(a: { out: View; table: View; ids: View; rows: number; width: number; vocab: number }): void;
  /** dtable[ids[r]] += dy[r], rows in ascending order; ids outside are skipped. */
  embeddingBackward(a: { dtable: View; dy: View; ids: View; rows: number; width: number; vocab: number }): void;
  /**
   * lse[r] = log Σ exp(logits[r]); loss[r] = lse[r] - logits[r, targets[r]]; a target outside 0..vocab-1 gives loss 0 (lse is written all
   * the same). A logit may be -Infinity, not all of a row. lse is within (vocab/4 + 16)·u + |lse|·u.
   */
  crossEntropy(a: { loss: View; lse: View; logits: View; targets: View; rows: number; vocab: number }): void;
  /** dlogits[r, v] = (exp(logits[r, v] - lse[r]) - [v = targets[r]])·dloss[r]; 0 for ignored rows, whatever their logits. In place on logits allowed. */
  crossEntropyBackward(a: { dlogits: View; logits: View; lse: View; targets: View; dloss: View; rows: number; vocab: number }): void;
  /** out[r] = entropy of softmax(logits[r]) in nats; a logit of -Infinity adds 0 (not all of a row). Within (vocab/4 + 32)·u of its size for equal logits. */
  entropy(a: { out: View; logits: View; rows: number; vocab: number }): void;
  /** Softmax by rows; -Infinity gives 0 (not all of a row). Within (width/4 + 16)·u of its size, beside what the logits' own rounding makes of it. */
  softmax(a: { out: View; x: View; rows: number; width: number }): void;
  /** dx = y·(dy - Σ dy·y), by rows. */
  softmaxBackward(a: { dx: View; dy: View; y: View; rows: number; width: number }): void;

  // ---- attention ----------------------------------------------------------------------------------------------
  /**
   * out[r, h] = Σ_j p_j · v[j, g], p = softmax over j of scale·q[r, h]·k[j, g], where j runs over the key rows first[r]..last[r] (both i32,
   * inclusive; first > last as given, or S = 0, is an empty range: zeros, lse -Infinity; otherwise both are clamped to 0..S-1) and g = ⌊h / (H/G)⌋. q [R, H, D], out [R, H, Dv], lse [R, H] (log of the sum, for the backward pass).
   * k and v are strided: element (j, g, d) lies at j·kRowStride + g·kHeadStride + d. The kernel serves training, prefill, cached decoding
   * (k and v are the cache) and MLA's absorbed form (G = 1, v = the first Dv elements of the key rows).
   *
   * A score is within (D/4 + 4)·u·scale·Σ|q·k|. With n keys and the scores as they are, out is within (n + 16)·u·Σ p|v| and lse within (n/4 + 16)·u + |lse|·u: values are
   * added in one chain. 32,768 equal keys came to a quarter of that, 5e-4 of the value.
   *
   * Paged keys (Kwon et al. 2023): with `pages` (i32 [tables, tableStride]) and `slot` (i32 [R]) key j of row r is key row
   * p·pageSize + j mod pageSize, p = pages[slot[r], ⌊j / pageSize⌋]. Then first and last count the keys of a sequence and are clamped to
   * 0..tableStride·pageSize - 1, slot[r] to 0..tables - 1, p to 0..⌊S / pageSize⌋ - 1 (S < pageSize is an empty range). Same bits as without pages.
   *
   * Narrow caches: with `cacheType` f16 or q8_0, k and v are rows that cacheWrite stored: row strides count their 32-bit words, head strides count numbers inside a row, and
   * the views begin at the first word of a row. f16: same bits as over an f32 cache of the numbers that they stand for. q8_0: q is rounded to 8 bits as packed products round
   * x, in the blocks of 32 of the cached row that the head's numbers lie in (at a head's edges its part of a block), and the integer products of a block are summed exactly.
   * A device may round p_j times the scale of a block of values by up to 1/32766 of the largest p times the largest scale among 32 keys that follow each other, counted from first[r]; a row's bits depend on
   * its query and its keys alone.
   */
  attention(a: {
    out: View;
    lse: View;
    q: View;
    k: View;
    v: View;
    first: View;
    last: View;
    R: number;
    S: number;
    H: number;
    G: number;
    D: number;
    Dv: number;
    scale: number;
    kRowStride: number;
    kHeadStride: number;
    vRowStride: number;
    vHeadStride: number;
    pages?: View;
    slot?: View;
    tables?: number;
    tableStride?: number;
    pageSize?: number;
    cacheType?: CacheType;
  }): void;
  /**
   * Gradients of attention; dq [R, H, D] is overwritten, dk and dv (strides as k and v) are added to. Rows and key rows fall into
   * `batch` equal parts without attention between them (R/batch and S/batch are integers; the caller answers for it, a key outside its row's part gives undefined gradients):
   * the unit of parallel work. Sums run over queries in ascending order, then are added to dk and dv. Empty ranges give dq 0.
   */
  attentionBackward(a: {
    dq: View;
    dk: View;
    dv: View;
    dOut: View;
    out: View;
    lse: View;
    q: View;
    k: View;
    v: View;
    first: View;
    last: View;
    R: number;
    S: number;
    H: number;
    G: number;
    D: number;
    Dv: number;
    scale: number;
    batch: number;
    kRowStride: number;
    kHeadStride: number;
    vRowStride: number;
    vHeadStride: number;
    dkRowStride: number;
    dkHeadStride: number;
    dvRowStride: number;
    dvHeadStride: number;
  }): void;

  // ---- mixture of experts -------------------------------------------------------------------------------------
  /**
   * Chooses K of E experts for each of T rows (DeepSeek-V3 gate; V2 with groupTop 1). choice = scores + bias; with groups > 1 the group score is the sum of its
   * groupTop (1 or 2) best choices, the topkGroups best groups are kept and all others take the value `masked` (-Infinity as DeepSeek, 0 as transformers). Ties, of groups too: the lower index. A NaN choice counts
   * as -Infinity, so indices are always K distinct experts (K <= E; groups divides E). Groups smaller than groupTop are summed whole.
   * indices [T, K] i32 in descending order of choice; weights [T, K] = scores[chosen], divided by (their sum + 1e-20) if normalise, times scale.
   */
  route(a: {
    indices: View;
    weights: View;
    scores: View;
    bias: View;
    T: number;
    E: number;
    K: number;
    groups: number;
    topkGroups: number;
    groupTop: number;
    masked: number;
    normalise: boolean;
    scale: number;
  }): void;
  /** dscores [T, E] is overwritten: gradient of the weights with respect to the scores (selection has none). Indices outside 0..E-1 are skipped, the others of a row are distinct. */
  routeBackward(a: {
    dscores: View;
    dweights: View;
    scores: View;
    indices: View;
    T: number;
    E: number;
    K: number;
    normalise: boolean;
    scale: number;
  }): void;
  /**
   * Stable counting sort of slots by expert. indices [slots] i32 (slot = token·K + k). offsets [E+1]; sorted [slots]: slot at each sorted place; place [slots]: place of each slot.
   * Indices outside 0..E-1 are clamped.
   */
  dispatch(a: { offsets: View; sorted: View; place: View; indices: View; slots: number; E: number }): void;
  /** out[p] = x[⌊sorted[p] / K⌋]·(weights ? weights[sorted[p]] : 1): tokens in expert order. x [slots/K, width]. sorted outside 0..slots-1 gives zeros. */
  expertGather(a: { out: View; x: View; sorted: View; weights?: View; slots: number; K: number; width: number }): void;
  /** out[t] (+)= Σ_k y[place[t·K + k]]·(weights ? weights[t·K + k] : 1), k ascending. place outside 0..T·K-1 adds 0; accumulate adds the finished sum. */
  expertCombine(a: { out: View; y: View; place: View; weights?: View; T: number; K: number; width: number; accumulate?: boolean }): void;
  /** dweights[t·K + k] = y[place[t·K + k]] · dOut[t] (a dot product; overwritten); 0 for a place outside. */
  expertCombineWeightGrad(a: { dweights: View; y: View; dOut: View; place: View; T: number; K: number; width: number }): void;
  /** counts[g, e] = how often e occurs among the `slots / parts` indices of part g (f32); indices outside 0..E-1 are not counted. Added to when accumulate. */
  expertLoad(a: { counts: View; indices: View; slots: number; parts: number; E: number; accumulate?: boolean }): void;
  /** bias[e] += gamma·sign(mean(counts) - counts[e]), mean = sum / E, sign(0) = 0. (Auxiliary-loss-free balancing, DeepSeek-V3 2.1.2.) */
  balanceBias(a: { bias: View; counts: View; E: number; gamma: number }): void;

  // ---- optimiser ----------------------------------------------------------------------------------------------
  /**
   * out[0] = min(1, maxNorm / (sqrt(sumSquares[0]) + 1e-6)), as PyTorch's clip_grad_norm_; -1 when sumSquares[0] or guard[0] (the loss) is
   * not finite: then adamw leaves everything as it is. maxNorm Infinity means no clipping.
   */
  clipFactor(a: { out: View; sumSquares: View; guard?: View; maxNorm: number }): void;
  /**
   * Decoupled AdamW (Loshchilov and Hutter 2019), PyTorch's order: param *= 1 - lr·weightDecay; m, v moments of grad·factor; param -= lr·(m/c1) / (sqrt(v/c2) + eps)
   * with c1 = 1 - beta1^step, c2 = 1 - beta2^step given by the caller. factor[0] < 0 skips everything.
   */
  adamw(a: {
    param: View;
    grad: View;
    m: View;
    v: View;
    n: number;
    factor: View;
    lr: number;
    beta1: number;
    beta2: number;
    eps: number;
    weightDecay: number;
    c1: number;
    c2: number;
  }): void;
}

export type KernelName = keyof Kernels;

export type DeviceInfo = {
  readonly name: "reference" | "wasm" | "webgpu";
  /** e.g. "wide", "relaxed", "simd128", "f64". */
  readonly build: string;
  readonly threads: number;
};

/** Commands that were recorded once. */
export interface Recording {
  /**
   * Records the same commands again, on the same memory: they read what their inputs hold now. Out: new handles of the buffers that the body returned; undefined, and
   * nothing is recorded, where a weight has changed since.
   */
  play(): readonly DeviceBuffer[] | undefined;
}

/** Makes recordings that share the memory of their intermediates and results: results hold until the next `record` or `play`. */
export interface Repeater {
  /**
   * Runs `body`, which records commands and returns buffers among those that it allocated; everything else that it allocated it releases. What it records runs as
   * always. Out: undefined where it cannot run again, because the host wrote something or weights were made ready on the way.
   */
  record(body: () => readonly DeviceBuffer[]): Recording | undefined;
  /** Gives the memory back. Recordings and their results must not be used any more. */
  close(): void;
}

export interface Device {
  readonly info: DeviceInfo;
  readonly kernels: Kernels;
  /** It broke down: nothing will be computed on it again, and what it held is gone. */
  readonly isLost?: boolean;
  /** Uninitialised memory. Throws DeviceError when it does not fit. */
  allocate(dtype: DType, length: number): DeviceBuffer;
  /** Packed types that this device holds and multiplies by; a loader decodes the others to f32. */
  readonly packedTypes: ReadonlySet<PackedType>;
  /**
   * Memory for `matrices` matrices of [rows, width] weights of a packed type (width a multiple of its block), laid out as the device
   * likes. Only writePacked and the packed kernels touch it. Throws DeviceError when it does not fit, ShapeError for a width that is no
   * whole number of blocks.
   */
  allocatePacked(type: PackedType, matrices: number, rows: number, width: number): DeviceBuffer;
  /**
   * Fills whole rows, the rows of all matrices counted on, from their bytes in the file's layout (core/dtype.ts). Ordered with the commands; `bytes` may
   * change after the call. Each row is written once.
   */
  writePacked(buffer: DeviceBuffer, firstRow: number, bytes: Uint8Array): void;
  /** The buffer's memory is reused by later allocations once all commands recorded so far have read it. */
  release(buffer: DeviceBuffer): void;
  /** Ordered with the commands: commands recorded before see the old contents. */
  write(buffer: DeviceBuffer, offset: number, data: HostArray | readonly number[]): void;
  /** Runs what is recorded, then copies out. f32 buffers give Float32Array (Float64Array on the f64 reference). */
  read(buffer: DeviceBuffer, offset: number, length: number): Promise<HostArray>;
  /** Runs what is recorded. */
  finish(): Promise<void>;
  /** For steps that repeat; absent where to record is as cheap. */
  repeater?(): Repeater;
  /**
   * Lets other threads begin what is recorded, for a caller that has other work to do (a turn of the event loop, say) before it reads. False where nothing begins
   * before the read. What is recorded later, or never read, is as right as without it.
   */
  begin?(): boolean;
  /**
   * What this machine can do at most on this device, measured now (about half a second): the limits that kernels are held against. `now` in seconds. `bytes`
   * (default 64 MiB, as much as the elementwise benchmarks touch) are read again and again: many lie in a cache, a model of many more does not.
   */
  measureLimits?(now: () => number, bytes?: number): Promise<{ readonly read_gb_s: number; readonly fma_gflop_s: number }>;
  /** Bytes in live buffers, and reserved from the system. */
  memory(): { readonly used: number; readonly reserved: number };
  close(): Promise<void>;
}
