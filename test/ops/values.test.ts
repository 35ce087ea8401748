// What the ops compute, on numbers that can be checked by eye: broadcasting, moved elements, options. (Kernels have their own tests; gradients too.)

import { expect, test, vi } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import type { Shape } from "../../src/core/shape.ts";
import { affine } from "../../src/ops/affine.ts";
import { attention, attentionStrided } from "../../src/ops/attention.ts";
import { add, div, less, lessEqual, maximum, minimum, mul, sub } from "../../src/ops/binary.ts";
import { clamp } from "../../src/ops/clamp.ts";
import { concat, expand, slice, transpose } from "../../src/ops/copy.ts";
import { crossEntropy } from "../../src/ops/cross-entropy.ts";
import { dispatch, expertCombine, expertGather, expertLoad } from "../../src/ops/dispatch.ts";
import { embedding } from "../../src/ops/embedding.ts";
import { entropy } from "../../src/ops/entropy.ts";
import { fillWith, full, ones, zeros } from "../../src/ops/fill.ts";
import { gatherRows, scatterRows } from "../../src/ops/gather-rows.ts";
import { groupedLinear } from "../../src/ops/grouped-matmul.ts";
import { headMatmul, linear, matmul } from "../../src/ops/matmul.ts";
import { reshape } from "../../src/ops/reshape.ts";
import { rmsNorm } from "../../src/ops/rms-norm.ts";
import { rope } from "../../src/ops/rope.ts";
import { route } from "../../src/ops/route.ts";
import { softmax } from "../../src/ops/softmax.ts";
import { mean, sum, sumAxis } from "../../src/ops/sum-axis.ts";
import { sumSquares } from "../../src/ops/sum-squares.ts";
import { swiglu } from "../../src/ops/swiglu.ts";
import { abs, neg, reciprocal, sigmoid, silu, square } from "../../src/ops/unary.ts";
import { backward } from "../../src/tensor/autograd.ts";
import { alias, fromArray, liveStorageCount, read, scope, type Tensor } from "../../src/tensor/tensor.ts";
import { trackGradients } from "../../src/tensor/tracking.ts";

const device = openReference({ precision: "f64" });
const f = (data: readonly number[], shape: Shape = [data.length]): Tensor => fromArray(device, data, shape);
const i = (data: readonly number[], shape: Shape = [data.length]): Tensor => fromArray(device, data, shape, "i32");
const upTo = (...shape: number[]): Tensor => {
  const n = shape.reduce((a, b) => a * b, 1);
  return f(
    Array.from({ length: n }, (_, k) => k),
    shape,
  );
};

async function expectValues(x: Tensor, shape: Shape, values: readonly number[]): Promise<void> {
  expect(x.shape).toEqual(shape);
  const got = await read(x);
  expect(got.length).toBe(values.length);
  for (const [k, value] of values.entries()) expect(got[k]).toBeCloseTo(value, 10);
}

test("binary: b may be a suffix, a column or both", async () => {
  const a = upTo(2, 3); // 0 1 2 | 3 4 5
  await expectValues(add(a, f([10, 20, 30])), [2, 3], [10, 21, 32, 13, 24, 35]);
  await expectValues(sub(a, f([1, 2], [2, 1])), [2, 3], [-1, 0, 1, 1, 2, 3]);
  await expectValues(mul(a, f([2], [])), [2, 3], [0, 2, 4, 6, 8, 10]);
  await expectValues(div(a, f([1, 2, 4], [1, 3])), [2, 3], [0, 0.5, 0.5, 3, 2, 1.25]);
  await expectValues(minimum(a, f([1, 4], [2, 1])), [2, 3], [0, 1, 1, 3, 4, 4]);
  await expectValues(maximum(a, f([1, 4], [2, 1])), [2, 3], [1, 1, 2, 4, 4, 5]);
  await expectValues(lessEqual(a, f([2], [1])), [2, 3], [1, 1, 1, 0, 0, 0]);
  await expectValues(less(a, f([2], [1, 1])), [2, 3], [1, 1, 0, 0, 0, 0]);
  await expectValues(add(upTo(2, 2, 2), f([10, 20], [2, 1])), [2, 2, 2], [10, 11, 22, 23, 14, 15, 26, 27]);
  await expectValues(add(upTo(2, 2, 2), f([10, 20], [2, 1, 1])), [2, 2, 2], [10, 11, 12, 13, 24, 25, 26, 27]);
});

test("elementwise", async () => {
  const x = f([-2, 0, 3]);
  await expectValues(neg(x), [3], [2, 0, -3]);
  await expectValues(square(x), [3], [4, 0, 9]);
  await expectValues(abs(x), [3], [2, 0, 3]);
  await expectValues(reciprocal(f([4])), [1], [0.25]);
  await expectValues(sigmoid(f([0, Math.log(3)])), [2], [0.5, 0.75]);
  await expectValues(silu(f([Math.log(3)])), [1], [0.75 * Math.log(3)]);
  await expectValues(swiglu(f([Math.log(3)]), f([2])), [1], [1.5 * Math.log(3)]);
  await expectValues(affine(x, 2, 1), [3], [-3, 1, 7]);
  await expectValues(clamp(x, -1, 2), [3], [-1, 0, 2]);
  await expectValues(zeros(device, [2], "i32"), [2], [0, 0]);
  await expectValues(ones(device, []), [], [1]);
  await expectValues(full(device, [2, 1], 7), [2, 1], [7, 7]);
  await expectValues(fillWith(i([1, 2]), -1), [2], [-1, -1]);
});

test("moved elements", async () => {
  const x = upTo(2, 3);
  const view = reshape(x, [3, 2]);
  expect(view.storage).toBe(x.storage);
  await expectValues(reshape(alias(x, [3], 3), [3, 1]), [3, 1], [3, 4, 5]);
  await expectValues(slice(x, 1, 1, 3), [2, 2], [1, 2, 4, 5]);
  await expectValues(slice(alias(x, [3], 3), 0, 1, 2), [1], [4]);
  await expectValues(slice(i([5, 6, 7]), -1, 1, 3), [2], [6, 7]);
  await expectValues(concat([x, f([10, 20], [2, 1])], 1), [2, 4], [0, 1, 2, 10, 3, 4, 5, 20]);
  await expectValues(concat([i([1]), i([2, 3])], 0), [3], [1, 2, 3]);
  await expectValues(expand(f([1, 2], [1, 2, 1]), [2, 2, 3]), [2, 2, 3], [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
  await expectValues(transpose(x, 0, 1), [3, 2], [0, 3, 1, 4, 2, 5]);
  await expectValues(transpose(upTo(2, 2, 3), 0, 2), [3, 2, 2], [0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11]);
  const five = transpose(upTo(2, 2, 2, 2, 2), 1, 3); // bits a b c d e -> a d c b e
  const swappedBits = Array.from({ length: 32 }, (_, k) => (k & 0b10101) | ((k & 8) >> 2) | ((k & 2) << 2));
  await expectValues(five, [2, 2, 2, 2, 2], swappedBits);
  await expectValues(gatherRows(x, i([1, 0, 7, 1])), [4, 3], [3, 4, 5, 0, 1, 2, 0, 0, 0, 3, 4, 5]);
  await expectValues(gatherRows(i([5, 6, 7]), i([2, 0])), [2], [7, 5]);
  const cache = zeros(device, [3, 2]);
  scatterRows(cache, f([1, 2, 3, 4, 5, 6], [3, 2]), i([2, -1, 0]));
  await expectValues(cache, [3, 2], [5, 6, 0, 0, 1, 2]);
});

test("sums", async () => {
  const x = upTo(2, 3);
  await expectValues(sumAxis(x, 0), [3], [3, 5, 7]);
  await expectValues(sumAxis(x, 1), [2], [3, 12]);
  await expectValues(sum(x), [], [15]);
  await expectValues(sum(f([3], [])), [], [3]);
  await expectValues(mean(x), [], [2.5]);
  await expectValues(sumSquares(x), [], [55]);
});

test("matrix products", async () => {
  const a = upTo(2, 3);
  const b = f([1, 0, 2, 1, 0, 3], [3, 2]);
  const product = [2, 7, 11, 19]; // [[0·1+1·2+2·0, 0·0+1·1+2·3], …]
  await expectValues(matmul(a, b), [2, 2], product);
  await expectValues(matmul(transpose(a, 0, 1), b, { transposeA: true }), [2, 2], product);
  await expectValues(matmul(a, transpose(b, 0, 1), { transposeB: true }), [2, 2], product);
  const batched = matmul(concat([reshape(a, [1, 2, 3]), reshape(affine(a, 2), [1, 2, 3])], 0), expand(reshape(b, [1, 3, 2]), [2, 3, 2]));
  await expectValues(batched, [2, 2, 2], [...product, ...product.map((n) => 2 * n)]);
  await expectValues(linear(reshape(a, [2, 1, 3]), transpose(b, 0, 1), f([100, 200])), [2, 1, 2], [102, 207, 111, 219]);
  const experts = f([1, 1, 1, 10, 10, 10], [2, 1, 3]);
  await expectValues(groupedLinear(a, experts, i([0, 1, 2])), [2, 1], [3, 120]);
});

test("network", async () => {
  await expectValues(rmsNorm(f([3, 4], [1, 2]), f([1, 2]), 0), [1, 2], [3 / Math.sqrt(12.5), 8 / Math.sqrt(12.5)]);
  const quarter = { cos: f([1, 0], [2, 1]), sin: f([0, 1], [2, 1]) }; // 0 and 90 degrees
  const x = f([1, 2, 3, 4, 1, 2, 3, 4], [2, 1, 4]);
  await expectValues(rope(x, i([0, 1]), quarter, { offset: 1, dims: 2, interleaved: true }), [2, 1, 4], [1, 2, 3, 4, 1, -3, 2, 4]);
  await expectValues(embedding(upTo(3, 2), i([2, 0, 3])), [3, 2], [4, 5, 0, 1, 0, 0]);
  const logits = f([0, Math.log(3), 5, 5], [2, 2]);
  await expectValues(crossEntropy(logits, i([1, -1])), [2], [-Math.log(0.75), 0]);
  await expectValues(entropy(logits), [2], [-0.75 * Math.log(0.75) - 0.25 * Math.log(0.25), Math.log(2)]);
  await expectValues(softmax(logits), [2, 2], [0.25, 0.75, 0.5, 0.5]);
});

test("attention averages the values of the rows seen, and strided rows give the same bits", async () => {
  const q = zeros(device, [2, 2, 2]); // equal scores
  const k = upTo(3, 1, 2);
  const v = f([1, 2, 6], [3, 1, 1]);
  const range = { first: i([0, 2]), last: i([2, 1]), scale: 1 };
  await expectValues(attention(q, k, v, range), [2, 2, 1], [3, 3, 0, 0]);
  // Keys and values in one row of 5: a skipped element, the key, a skipped element, the value.
  const joined = concat([fillWith(zeros(device, [3, 1]), 9), reshape(k, [3, 2]), zeros(device, [3, 1]), reshape(v, [3, 1])], 1);
  const query = upTo(2, 2, 2);
  const seen = { first: i([0, 1]), last: i([2, 2]), scale: 0.3 };
  const plain = await read(attention(query, k, v, seen));
  const strided = attentionStrided({
    q: query,
    k: { tensor: joined, rowStride: 5, headStride: 2, offset: 1 },
    v: { tensor: joined, rowStride: 5, headStride: 1, offset: 4 },
    ...seen,
    S: 3,
    G: 1,
    Dv: 1,
  });
  expect(await read(strided)).toEqual(plain);
});

test("keys in pages are those of one range", async () => {
  const [k, v, query] = [upTo(6, 1, 2), upTo(6, 1, 1), upTo(2, 2, 2)];
  const pages = { table: fromArray(device, [2, 0, 9, 1], [2, 2], "i32"), slot: i([0, 1]), size: 2 };
  const paged = attention(query, k, v, { first: i([0, 1]), last: i([2, 3]), scale: 0.3, pages });
  const order = (rows: readonly number[], x: Tensor) => gatherRows(x, i(rows));
  const [a, b] = [
    [4, 5, 0],
    [4, 5, 2, 3], // page 9 is taken for the last
  ];
  const one = (r: number, rows: readonly number[], first: number) =>
    attention(slice(query, 0, r, r + 1), order(rows, k), order(rows, v), { first: i([first]), last: i([rows.length - 1]), scale: 0.3 });
  expect([...(await read(paged))]).toEqual([...(await read(one(0, a as number[], 0))), ...(await read(one(1, b as number[], 1)))]);
});

test("headMatmul is matmul by a slice of the weight", async () => {
  const weight = upTo(3 * 5, 4);
  const byHead = reshape(weight, [3, 5, 4]);
  const [x, y] = [upTo(3, 2, 2), upTo(3, 2, 4)];
  expect(await read(headMatmul(x, weight, { rows: 5, from: 1, to: 3, transpose: false }))).toEqual(
    await read(matmul(x, slice(byHead, 1, 1, 3))),
  );
  const out = headMatmul(y, weight, { rows: 5, from: 3, to: 5, transpose: true });
  expect(out.shape).toEqual([3, 2, 2]);
  expect(await read(out)).toEqual(await read(matmul(y, slice(byHead, 1, 3, 5), { transposeB: true })));
  expect([...(await read(headMatmul(upTo(3, 2, 0), weight, { rows: 5, from: 1, to: 1, transpose: false })))]).toEqual(
    new Array(24).fill(0),
  );
});

test("the backward of attention never hands overlapping outputs to the kernel", () => {
  const kernel = vi.spyOn(device.kernels, "attentionBackward");
  scope(() => {
    const x = upTo(3, 1, 2);
    x.requiresGrad = true;
    backward(trackGradients(() => sum(attention(x, x, x, { first: i([0, 0, 0]), last: i([0, 1, 2]), scale: 1 }))));
  });
  const a = kernel.mock.calls[0]?.[0];
  expect(new Set([a?.dq.buffer, a?.dk.buffer, a?.dv.buffer]).size).toBe(3);
  kernel.mockRestore();
});

test("what only the backward pass needs is freed at once without a tape", () => {
  const before = liveStorageCount();
  crossEntropy(upTo(2, 2), i([0, 1])); // logits, targets, loss
  attention(upTo(1, 1, 1), upTo(1, 1, 1), upTo(1, 1, 1), { first: i([0]), last: i([0]), scale: 1 }); // five inputs, out
  sum(upTo(3, 3)); // x, out
  expect(liveStorageCount() - before).toBe(3 + 6 + 2);
});

test("experts", async () => {
  const options = { K: 2, groups: 2, topkGroups: 1, groupTop: 2, masked: Number.NEGATIVE_INFINITY, normalise: true, scale: 2 };
  const { indices, weights } = route(f([0.9, 0, 0.5, 0.3], [1, 4]), f([-0.5, 0, 0, 0]), options);
  await expectValues(indices, [1, 2], [2, 3]); // the groups hold 0.4 and 0.8
  await expectValues(weights, [1, 2], [1.25, 0.75]);
  const chosen = i([1, 0, 1, 2], [2, 2]); // row 0: experts 1, 0; row 1: experts 1, 2
  const d = dispatch(chosen, 3);
  await expectValues(d.offsets, [4], [0, 1, 3, 4]);
  await expectValues(d.sorted, [4], [1, 0, 2, 3]);
  await expectValues(d.place, [4], [1, 0, 2, 3]);
  const x = f([10, 20], [2, 1]);
  await expectValues(expertGather(x, d, 2), [4, 1], [10, 10, 20, 20]);
  await expectValues(expertCombine(f([1, 2, 3, 4], [4, 1]), d, f([1, 10, 100, 1000], [2, 2])), [2, 1], [12, 4300]);
  await expectValues(expertLoad(chosen, 2, 3), [2, 3], [1, 1, 0, 0, 1, 1]);
});
