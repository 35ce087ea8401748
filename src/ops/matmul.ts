// Matrix products: matmul of two tensors, plain or batched, and linear, the product with a weight in its checkpoint layout [N, K], which the
// device may pack once and keep. The gradients are products of the same kernel that add straight into the parameter's gradient.

import { isPackedType } from "../core/dtype.ts";
import { showShape } from "../core/shape.ts";
import { attach, giveGrad } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { add } from "./binary.ts";
import { expectNumbers, expectOneDevice, expectRank, expectShape, expectWhole, sizeOf, wrong } from "./check.ts";
import { fillWith } from "./fill.ts";
import { packedLinear } from "./packed-matmul.ts";

export type MatmulOptions = {
  /** a is [K, M] (or [B, K, M]). */
  readonly transposeA?: boolean;
  /** b is [N, K] (or [B, N, K]). */
  readonly transposeB?: boolean;
};

/** a [M, K] by b [K, N] -> [M, N], or a [B, M, K] by b [B, K, N] -> [B, M, N]. */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false } = options;
  expectNumbers("matmul", "a", a);
  expectNumbers("matmul", "b", b);
  expectOneDevice("matmul", a, b);
  const rank = a.shape.length;
  const both = `a ${showShape(a.shape)} by b ${showShape(b.shape)}`;
  if ((rank !== 2 && rank !== 3) || b.shape.length !== rank) {
    throw wrong("matmul", both, "two matrices, or two batches of matrices", "reshape them to 2 axes, or both to 3");
  }
  const batch = rank === 3 ? (a.shape[0] as number) : 1;
  if (rank === 3 && b.shape[0] !== batch)
    throw wrong("matmul", both, `b [${batch}, …]: as many matrices as a`, "give both the same first size");
  const M = a.shape[transposeA ? rank - 1 : rank - 2] as number;
  const K = a.shape[transposeA ? rank - 2 : rank - 1] as number;
  const N = b.shape[transposeB ? rank - 2 : rank - 1] as number;
  if (b.shape[transposeB ? rank - 1 : rank - 2] !== K) {
    const flags = `${transposeA ? ", transposeA" : ""}${transposeB ? ", transposeB" : ""}`;
    const matrix = transposeB ? `…, ${K}` : `${K}, …`;
    throw wrong(
      "matmul",
      both + flags,
      `b [${rank === 3 ? `${batch}, ` : ""}${matrix}]`,
      "make the inner sizes equal, or transpose one operand",
    );
  }
  const { device } = a.storage;
  const out = empty(device, rank === 3 ? [batch, M, N] : [M, N]);
  const sizes = { batch, aBatchStride: M * K, bBatchStride: K * N, outBatchStride: M * N };
  if (K === 0) fillWith(out, 0);
  else if (batch * M * N > 0) device.kernels.matmul({ out: view(out), a: view(a), b: view(b), M, N, K, transposeA, transposeB, ...sizes });
  return attach("matmul", out, [a, b], (dy) => {
    giveGrad(a, (da, accumulate) => {
      if (transposeA)
        product(da, b, transposeB, dy, true, batch, K, M, N, accumulate); // [K, M] = B·dyᵀ
      else product(da, dy, false, b, !transposeB, batch, M, K, N, accumulate); // [M, K] = dy·Bᵀ
    });
    giveGrad(b, (db, accumulate) => {
      if (transposeB)
        product(db, dy, true, a, transposeA, batch, N, K, M, accumulate); // [N, K] = dyᵀ·A
      else product(db, a, !transposeA, dy, false, batch, K, N, M, accumulate); // [K, N] = Aᵀ·dy
    });
  });
}

/** out [batch, M, N] (+)= a·b over K; the flags say that the operand is stored transposed. */
function product(
  out: Tensor,
  a: Tensor,
  transposeA: boolean,
  b: Tensor,
  transposeB: boolean,
  batch: number,
  M: number,
  N: number,
  K: number,
  accumulate: boolean,
): void {
  out.storage.device.kernels.matmul({
    out: view(out),
    a: view(a),
    b: view(b),
    M,
    N,
    K,
    transposeA,
    transposeB,
    accumulate,
    batch,
    outBatchStride: M * N,
    aBatchStride: M * K,
    bBatchStride: K * N,
  });
}

export type HeadMatmulOptions = {
  /** Rows of each head's block of the weight: `from`..`to` - 1 of `rows`. */
  readonly rows: number;
  readonly from: number;
  readonly to: number;
  /** The rows are the outputs ([N, K], as in the checkpoint); otherwise the inputs. */
  readonly transpose: boolean;
};

/**
 * x [H, R, K] by a part of every head's rows of a weight w [H·rows, width] -> [H, R, N]. The weight stays where it is, packed once. No gradient.
 */
export function headMatmul(x: Tensor, w: Tensor, { rows, from, to, transpose }: HeadMatmulOptions): Tensor {
  expectNumbers("headMatmul", "x", x);
  expectNumbers("headMatmul", "w", w);
  expectOneDevice("headMatmul", x, w);
  expectRank("headMatmul", "x", x, 3, "H, R, K");
  const [H, M, K] = x.shape as [number, number, number];
  expectWhole("headMatmul", "to", to, 0, rows);
  expectWhole("headMatmul", "from", from, 0, to);
  const width = w.shape[1] as number;
  expectShape("headMatmul", "w", w, [H * rows, width]);
  const [N, inner] = transpose ? [to - from, width] : [width, to - from];
  if (inner !== K) throw wrong("headMatmul", `x ${showShape(x.shape)}`, `x [${H}, R, ${inner}]`, "make the inner sizes equal");
  const { device } = x.storage;
  const out = empty(device, [H, M, N]);
  if (K === 0) return fillWith(out, 0);
  const strides = { batch: H, aBatchStride: M * K, bBatchStride: rows * width, outBatchStride: M * N };
  const b = { buffer: w.storage.buffer, offset: w.offset + from * width };
  if (H * M * N > 0) device.kernels.matmul({ out: view(out), a: view(x), b, M, N, K, transposeB: transpose, cacheB: true, ...strides });
  return out;
}

/** x [..., K] by a weight w [N, K] and an optional bias [N] -> [..., N]. A packed w has no gradient. */
export function linear(x: Tensor, w: Tensor, bias?: Tensor): Tensor {
  if (isPackedType(w.dtype)) {
    const product = packedLinear(x, w);
    return bias ? add(product, bias) : product;
  }
  expectNumbers("linear", "x", x);
  expectNumbers("linear", "w", w);
  expectOneDevice("linear", x, w);
  const rank = x.shape.length;
  const K = x.shape[rank - 1];
  if (K === undefined || w.shape.length !== 2 || w.shape[1] !== K) {
    const expected = K === undefined ? "x [..., K]" : `w [N, ${K}]`;
    throw wrong("linear", `x ${showShape(x.shape)} by w ${showShape(w.shape)}`, expected, "pass a weight as wide as x");
  }
  const N = w.shape[0] as number;
  if (bias) {
    expectNumbers("linear", "bias", bias);
    expectShape("linear", "bias", bias, [N]);
    expectOneDevice("linear", x, bias);
  }
  const { device } = x.storage;
  const R = sizeOf(x.shape, 0, rank - 1);
  const cacheB = w.node === undefined; // computed weights are used once
  const out = empty(device, x.shape.with(rank - 1, N));
  if (K === 0) fillWith(out, 0);
  else if (R * N > 0) device.kernels.matmul({ out: view(out), a: view(x), b: view(w), M: R, N, K, transposeB: true, cacheB });
  if (bias && R * N > 0)
    device.kernels.binary({ kind: "add", out: view(out), a: view(out), b: view(bias), n: R * N, bRepeat: 1, bPeriod: N });
  return attach("linear", out, bias ? [x, w, bias] : [x, w], (dy) => {
    giveGrad(x, (dx, accumulate) =>
      device.kernels.matmul({ out: view(dx), a: view(dy), b: view(w), M: R, N: K, K: N, accumulate, cacheB }),
    );
    giveGrad(w, (dw, accumulate) =>
      device.kernels.matmul({ out: view(dw), a: view(dy), b: view(x), M: N, N: K, K: R, transposeA: true, accumulate }),
    );
    if (bias)
      giveGrad(bias, (db, accumulate) => device.kernels.sumAxis({ out: view(db), x: view(dy), outer: 1, axis: R, inner: N, accumulate }));
  });
}
