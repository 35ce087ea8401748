// Wrong shapes, dtypes and options: every op refuses them with one ShapeError that names the operation, what came, what was expected and the
// cure, and leaves no storage behind. And inputs without rows, which are right and must work.

import { afterEach, describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { ShapeError } from "../../src/core/errors.ts";
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
import { full, ones, zeros } from "../../src/ops/fill.ts";
import { gatherRows, scatterRows } from "../../src/ops/gather-rows.ts";
import { groupedLinear } from "../../src/ops/grouped-matmul.ts";
import { headMatmul, linear, matmul } from "../../src/ops/matmul.ts";
import { reshape } from "../../src/ops/reshape.ts";
import { rmsNorm } from "../../src/ops/rms-norm.ts";
import { rope } from "../../src/ops/rope.ts";
import { type RouteOptions, route } from "../../src/ops/route.ts";
import { softmax } from "../../src/ops/softmax.ts";
import { mean, sum, sumAxis } from "../../src/ops/sum-axis.ts";
import { sumSquares } from "../../src/ops/sum-squares.ts";
import { swiglu } from "../../src/ops/swiglu.ts";
import { exp, log } from "../../src/ops/unary.ts";
import { backward } from "../../src/tensor/autograd.ts";
import { dispose, liveStorageCount, read, scope, type Tensor } from "../../src/tensor/tensor.ts";
import { trackGradients } from "../../src/tensor/tracking.ts";

const device = openReference({ precision: "f32" });
const other = openReference({ precision: "f32" });
const made: Tensor[] = [];
const f = (...shape: number[]): Tensor => held(zeros(device, shape));
const i = (...shape: number[]): Tensor => held(zeros(device, shape, "i32"));
const elsewhere = (...shape: number[]): Tensor => held(zeros(other, shape));

function held(x: Tensor): Tensor {
  made.push(x);
  return x;
}

function freed(...shape: number[]): Tensor {
  const x = zeros(device, shape);
  dispose(x);
  return x;
}

afterEach(() => {
  dispose(...made.splice(0));
});

/** The message must be exactly `operation: got …; expected …; cure`, with these parts in it. */
function refuses(body: () => unknown, got: string, expected: string): void {
  const inputs = made.length;
  let error: unknown;
  const before = liveStorageCount();
  try {
    body();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(ShapeError);
  const { complaint, message } = error as ShapeError;
  expect(message).toBe(`${complaint.operation}: got ${complaint.got}; expected ${complaint.expected}; ${complaint.cure}`);
  expect(`${complaint.operation}: got ${complaint.got}`).toContain(got);
  expect(complaint.expected).toContain(expected);
  expect(complaint.cure.length).toBeGreaterThan(8);
  expect(liveStorageCount() - before, "storages made before the check").toBe(made.length - inputs);
}

const noOptions: RouteOptions = {
  K: 2,
  groups: 1,
  topkGroups: 1,
  groupTop: 1,
  masked: Number.NEGATIVE_INFINITY,
  normalise: true,
  scale: 1,
};
const halves = { offset: 0, dims: 4, interleaved: false };
const rows = (tensor: Tensor, change = {}) => ({ tensor, rowStride: 4, headStride: 4, offset: 0, ...change });

describe("refused", () => {
  const binaries = { add, sub, mul, div, minimum, maximum, less, lessEqual };
  for (const [name, op] of Object.entries(binaries)) {
    test(name, () => {
      refuses(() => op(f(2, 3), f(2)), `${name}: got a [2, 3] with b [2]`, "b [2, 3], a suffix of it");
      refuses(() => op(f(3), f(2, 3)), "a [3] with b [2, 3]", "suffix");
      refuses(() => op(f(2, 3), f(3, 1)), "with b [3, 1]", "suffix");
      refuses(() => op(f(2, 3, 4), f(2, 1, 4)), "with b [2, 1, 4]", "suffix");
      refuses(() => op(f(2, 3), i(2, 3)), `${name}: got b of i32`, "f32");
      refuses(() => op(f(2), elsewhere(2)), "two devices", "one device");
    });
  }

  test("elementwise ops", () => {
    refuses(() => exp(i(3)), "exp: got x of i32", "f32");
    refuses(() => log(freed(3)), "log: got x [3], which was freed", "live");
    refuses(() => affine(i(3), 2), "affine: got x of i32", "f32");
    refuses(() => clamp(i(3), 0, 1), "clamp: got x of i32", "f32");
    refuses(() => clamp(f(3), 1, 0), "clamp: got low 1, high 0", "low <= high");
    refuses(() => clamp(f(3), Number.NaN, 0), "low NaN", "low <= high");
    refuses(() => swiglu(f(2, 3), f(3, 2)), "swiglu: got up [3, 2]", "up [2, 3]");
    refuses(() => swiglu(f(2), elsewhere(2)), "two devices", "one device");
    refuses(() => zeros(device, [2, -1]), "shape: got [2, -1]", "0 or more");
    refuses(() => full(device, [1.5], 1), "[1.5]", "integer sizes");
    refuses(() => ones(device, [2 ** 40, 2 ** 40]), "[1099511627776", "fewer than");
  });

  test("moving elements", () => {
    refuses(() => reshape(f(2, 3), [4]), "reshape: got x [2, 3] to [4]", "6 elements");
    refuses(() => reshape(freed(2), [2, 1]), "freed", "live");
    refuses(() => slice(f(2, 3), 2, 0, 1), "slice: got axis 2 of x [2, 3]", "-2 to 1");
    refuses(() => slice(f(), 0, 0, 0), "axis 0 of x []", "at least one axis");
    refuses(() => slice(f(2, 3), 1, 0, 4), "slice: got end 4", "0 to 3");
    refuses(() => slice(f(2, 3), 1, 3, 2), "slice: got start 3", "0 to 2");
    refuses(() => slice(f(2, 3), 1, -1, 2), "start -1", "0 to 2");
    refuses(() => slice(f(2, 3), 1, 0.5, 2), "start 0.5", "whole number");
    refuses(() => concat([], 0), "concat: got no parts", "at least one");
    refuses(() => concat([f(2, 3), f(2, 4)], 0), "concat: got parts[1] [2, 4]", "[…, 3]");
    refuses(() => concat([f(2, 3), f(2)], 0), "parts[1] [2]", "[…, 3]");
    refuses(() => concat([f(2), i(2)], 0), "parts[1] of i32", "f32");
    refuses(() => concat([f(2), f(3)], 1), "axis 1", "-1 to 0");
    refuses(() => concat([f(2), elsewhere(3)], 0), "two devices", "one device");
    refuses(() => expand(f(2, 3), [4, 3]), "expand: got x [2, 3] to [4, 3]", "size 1");
    refuses(() => expand(f(1, 3), [2, 2, 3]), "to [2, 2, 3]", "size 1");
    refuses(() => expand(f(1, 3), [-1, 3]), "[-1, 3]", "0 or more");
    refuses(() => transpose(f(2, 3), 0, 2), "transpose: got axis 2", "-2 to 1");
    refuses(() => gatherRows(f(), i(2)), "gatherRows: got x []", "[N, ...]");
    refuses(() => gatherRows(f(2, 3), i(2, 1)), "index [2, 1]", "index [R]");
    refuses(() => gatherRows(f(2, 3), f(2)), "gatherRows: got index of f32", "i32");
    refuses(() => scatterRows(f(4, 3), f(2, 2), i(2)), "scatterRows: got x [2, 2] into [4, 3] by 2 indices", "x [2, 3]");
    refuses(() => scatterRows(f(4, 3), f(2, 3), i(3)), "by 3 indices", "x [3, 3]");
    refuses(() => scatterRows(f(4, 3), i(2, 3), i(2)), "x of i32", "f32");
    refuses(() => scatterRows(f(), f(), i(0)), "into []", "x");
  });

  test("reductions", () => {
    refuses(() => sumAxis(f(2, 3), -3), "sumAxis: got axis -3", "-2 to 1");
    refuses(() => sumAxis(i(2), 0), "sumAxis: got x of i32", "f32");
    refuses(() => sum(i(2)), "sum: got x of i32", "f32");
    refuses(() => mean(i(2)), "mean: got x of i32", "f32");
    refuses(() => mean(f(0, 3)), "mean: got x [0, 3]", "at least one element");
    refuses(() => sumSquares(i(2)), "sumSquares: got x of i32", "f32");
    refuses(() => softmax(f()), "softmax: got x []", "[..., V]");
    refuses(() => entropy(f(3)), "entropy: got logits [3]", "logits [R, V]");
    refuses(() => entropy(f(3, 0)), "logits [3, 0]", "at least one");
  });

  test("matrix products", () => {
    refuses(() => matmul(f(2, 3), f(4, 5)), "matmul: got a [2, 3] by b [4, 5]", "b [3, …]");
    refuses(() => matmul(f(2, 3), f(3, 5), { transposeB: true }), "by b [3, 5], transposeB", "b […, 3]");
    refuses(() => matmul(f(2, 3), f(3, 5), { transposeA: true }), "by b [3, 5], transposeA", "b [2, …]");
    refuses(() => matmul(f(2, 2, 3), f(3, 3, 5)), "a [2, 2, 3] by b [3, 3, 5]", "b [2, …]");
    refuses(() => matmul(f(2, 2, 3), f(2, 4, 5)), "by b [2, 4, 5]", "b [2, 3, …]");
    refuses(() => matmul(f(2, 2, 3), f(3, 5)), "by b [3, 5]", "two matrices");
    refuses(() => matmul(f(3), f(3)), "a [3] by b [3]", "two matrices");
    refuses(() => matmul(f(2, 3), i(3, 5)), "b of i32", "f32");
    refuses(() => linear(f(1, 7, 512), f(256, 1024)), "linear: got x [1, 7, 512] by w [256, 1024]", "w [N, 512]");
    refuses(() => linear(f(), f(2, 2)), "x []", "x [..., K]");
    refuses(() => linear(f(2, 3), f(3)), "by w [3]", "w [N, 3]");
    refuses(() => linear(f(2, 3), f(4, 3), f(3)), "linear: got bias [3]", "bias [4]");
    refuses(() => linear(f(2, 3), elsewhere(4, 3)), "two devices", "one device");
    refuses(() => groupedLinear(f(5, 3), f(2, 4, 2), i(3)), "groupedLinear: got x [5, 3] by w [2, 4, 2]", "w [E, N, 3]");
    refuses(() => groupedLinear(f(5), f(2, 4, 2), i(3)), "x [5]", "x [S, K]");
    refuses(() => groupedLinear(f(5, 3), f(4, 3), i(3)), "by w [4, 3]", "w [E, N, 3]");
    refuses(() => groupedLinear(f(5, 3), f(2, 4, 3), i(2)), "offsets [2]", "offsets [3]");
    refuses(() => groupedLinear(f(5, 3), f(2, 4, 3), f(3)), "offsets of f32", "i32");
  });

  test("network", () => {
    refuses(() => rmsNorm(f(2, 3), f(2), 1e-6), "rmsNorm: got weight [2]", "weight [3]");
    refuses(() => rmsNorm(f(), f(), 1e-6), "x []", "[..., C]");
    refuses(() => rmsNorm(f(2, 3), f(3), -1), "eps -1", "0 or more");
    const [cos, sin] = [f(8, 2), f(8, 2)];
    refuses(() => rope(f(2, 4), i(2), { cos, sin }, halves), "rope: got x [2, 4]", "[R, heads, width]");
    refuses(() => rope(f(2, 1, 4), i(3), { cos, sin }, halves), "positions [3]", "positions [2]");
    refuses(() => rope(f(2, 1, 4), f(2), { cos, sin }, halves), "positions of f32", "i32");
    refuses(() => rope(f(2, 1, 4), i(2), { cos, sin }, { ...halves, dims: 6 }), "dims 6", "0 to 4");
    refuses(() => rope(f(2, 1, 4), i(2), { cos, sin }, { ...halves, dims: 3 }), "dims 3", "even");
    refuses(() => rope(f(2, 1, 4), i(2), { cos, sin }, { ...halves, offset: 1 }), "offset 1", "0 to 0");
    refuses(() => rope(f(2, 1, 4), i(2), { cos: f(8, 3), sin }, halves), "cos [8, 3]", "cos [P, 2]");
    refuses(() => rope(f(2, 1, 4), i(2), { cos: f(0, 2), sin }, halves), "cos [0, 2]", "P >= 1");
    refuses(() => rope(f(2, 1, 4), i(2), { cos, sin: f(7, 2) }, halves), "sin [7, 2]", "sin [8, 2]");
    refuses(() => embedding(f(5), i(2)), "embedding: got table [5]", "table [V, C]");
    refuses(() => embedding(f(5, 2), i(2, 1)), "ids [2, 1]", "ids [R]");
    refuses(() => embedding(f(5, 2), f(2)), "ids of f32", "i32");
    refuses(() => crossEntropy(f(5), i(5)), "crossEntropy: got logits [5]", "logits [R, V]");
    refuses(() => crossEntropy(f(5, 3), i(3)), "targets [3]", "targets [5]");
    refuses(() => crossEntropy(f(5, 3), f(5)), "targets of f32", "i32");
    refuses(() => crossEntropy(f(2, 0), i(2)), "logits [2, 0]", "at least one");
  });

  test("headMatmul", () => {
    const run = (x: Tensor, w: Tensor, change: object = {}) => headMatmul(x, w, { rows: 5, from: 1, to: 3, transpose: false, ...change });
    refuses(() => run(f(2, 2), f(10, 4)), "x [2, 2]", "x [H, R, K]");
    refuses(() => run(f(2, 3, 2), f(9, 4)), "w [9, 4]", "w [10, 4]");
    refuses(() => run(f(2, 3, 3), f(10, 4)), "x [2, 3, 3]", "x [2, R, 2]");
    refuses(() => run(f(2, 3, 2), f(10, 4), { transpose: true }), "x [2, 3, 2]", "x [2, R, 4]");
    refuses(() => run(f(2, 3, 2), f(10, 4), { to: 6 }), "to 6", "0 to 5");
    refuses(() => run(f(2, 3, 2), f(10, 4), { from: -1 }), "from -1", "0 to 3");
    refuses(() => run(f(2, 3, 2), i(10, 4)), "w of i32", "f32");
  });

  test("attention", () => {
    const run = (q: Shape, k: Shape, v: Shape, options: object = {}) => {
      const [first, last] = [i(q[0] as number), i(q[0] as number)];
      return attention(f(...q), f(...k), f(...v), { first, last, scale: 1, ...options });
    };
    refuses(() => run([3, 4], [3, 2, 4], [3, 2, 4]), "attention: got q [3, 4]", "q [R, H, D]");
    refuses(() => run([3, 2, 4], [3, 2, 5], [3, 2, 4]), "with k [3, 2, 5]", "k [S, G, 4]");
    refuses(() => run([3, 2, 4], [3, 2, 4], [2, 2, 4]), "with v [2, 2, 4]", "v [3, 2, Dv]");
    refuses(() => run([3, 3, 4], [3, 2, 4], [3, 2, 4]), "3 heads over 2 key heads", "a multiple");
    refuses(() => run([3, 3, 4], [3, 0, 4], [3, 0, 4]), "3 heads over 0 key heads", "a multiple");
    refuses(() => run([3, 2, 4], [3, 2, 4], [3, 2, 4], { first: i(2) }), "first [2]", "first [3]");
    refuses(() => run([3, 2, 4], [3, 2, 4], [3, 2, 4], { last: f(3) }), "last of f32", "i32");
    refuses(() => run([3, 2, 4], [3, 2, 4], [3, 2, 4], { parts: 2 }), "2 parts of 3 rows", "equal parts");
    refuses(() => run([3, 2, 4], [3, 2, 4], [3, 2, 4], { parts: 0 }), "parts 0", "1 to 3");
    const paged = (change: object) => ({ pages: { table: i(2, 3), slot: i(3), size: 2, ...change } });
    const inPages = (change: object) => run([3, 2, 4], [6, 2, 4], [6, 2, 4], paged(change));
    refuses(() => inPages({ table: i(6) }), "pages.table [6]", "[tables, pages]");
    refuses(() => inPages({ table: f(2, 3) }), "pages.table of f32", "i32");
    refuses(() => inPages({ slot: i(2) }), "pages.slot [2]", "[3]");
    refuses(() => inPages({ size: 0 }), "pages.size 0", "whole number");
    refuses(() => trackGradients(() => inPages({})), "pages while gradients are tracked", "one of the two");
    const cache = f(10, 4);
    const common = { q: f(1, 2, 4), first: i(1), last: i(1), S: 10, G: 1, Dv: 4, scale: 1 };
    const strided = (change: object) => attentionStrided({ ...common, k: rows(cache), v: rows(cache), ...change });
    expect(made.push(strided({}))).toBeGreaterThan(0);
    refuses(() => strided({ S: 11 }), "attentionStrided: got k [10, 4] read up to element 44", "at most 40");
    refuses(() => strided({ v: rows(cache, { offset: 1 }) }), "v [10, 4] read up to element 41", "at most 40");
    refuses(() => strided({ k: rows(cache, { rowStride: -4 }) }), "k, -4", "whole number");
    refuses(() => strided({ G: 3 }), "2 heads over 3", "a multiple");
    refuses(() => strided({ S: 1.5 }), "S 1.5", "whole number");
    refuses(() => strided({ last: i(2) }), "last [2]", "last [1]");
  });

  test("mixture of experts", () => {
    const gate = (change: Partial<RouteOptions>) => route(f(3, 8), f(8), { ...noOptions, ...change });
    refuses(() => route(f(8), f(8), noOptions), "route: got scores [8]", "scores [R, E]");
    refuses(() => route(f(3, 8), f(7), noOptions), "bias [7]", "bias [8]");
    refuses(() => gate({ K: 0 }), "K 0", "1 to 8");
    refuses(() => gate({ K: 9 }), "K 9", "1 to 8");
    refuses(() => gate({ groups: 3 }), "3 groups of 8 experts", "equal groups");
    refuses(() => gate({ groups: 4, topkGroups: 5 }), "topkGroups 5", "1 to 4");
    refuses(() => gate({ groups: 4, topkGroups: 1, K: 3 }), "K 3", "1 to 2");
    refuses(() => gate({ groupTop: 3 }), "groupTop 3", "1 to 2");
    refuses(() => gate({ groups: 8, topkGroups: 8, groupTop: 2 }), "groupTop 2", "1 to 1");
    refuses(() => dispatch(i(6), 4), "dispatch: got indices [6]", "indices [R, K]");
    refuses(() => dispatch(f(3, 2), 4), "indices of f32", "i32");
    refuses(() => dispatch(i(3, 2), 0), "E 0", "from 1");
    const d = dispatch(i(3, 2), 4);
    for (const part of Object.values(d)) held(part);
    refuses(() => expertGather(f(6, 5), d, 2), "expertGather: got sorted [6]", "sorted [12]");
    refuses(() => expertGather(f(3), d, 2), "x [3]", "x [R, C]");
    refuses(() => expertGather(f(3, 5), d, 0), "K 0", "from 1");
    refuses(() => expertCombine(f(3, 5), d, f(3, 2)), "expertCombine: got y [3, 5] with weights [3, 2]", "y [6, C]");
    refuses(() => expertCombine(f(8, 5), d, f(4, 2)), "sorted [6]", "sorted [8]");
    refuses(() => expertCombine(f(6, 5), d, f(6)), "weights [6]", "weights [R, K]");
    refuses(() => expertLoad(i(6), 1, 4), "expertLoad: got indices [6]", "indices [R, K]");
    refuses(() => expertLoad(i(3, 2), 2, 4), "2 parts of 3 rows", "equal parts");
    refuses(() => expertLoad(i(3, 2), 0, 4), "parts 0", "1 to 3");
  });
});

describe("no rows", () => {
  const parameter = (...shape: number[]): Tensor => {
    const x = held(ones(device, shape));
    x.requiresGrad = true;
    return x;
  };
  const expectEmpty = async (body: () => Tensor, shape: Shape): Promise<void> => {
    const out = held(scope(body));
    expect(out.shape).toEqual(shape);
    expect((await read(out)).length).toBe(0);
    const loss = scope(() => {
      const tracked = trackGradients(() => sum(body()));
      if (tracked.node) backward(tracked);
      return tracked;
    });
    expect([...(await read(held(loss)))]).toEqual([0]);
  };
  const w = () => parameter(4, 3);

  test("give results without rows, and backward passes", async () => {
    const x = parameter(0, 3);
    const d = scope(() => dispatch(i(0, 2), 4));
    for (const part of Object.values(d)) held(part);
    expect([...(await read(d.offsets))]).toEqual([0, 0, 0, 0, 0]);
    const tables = { cos: f(4, 1), sin: f(4, 1) };
    await expectEmpty(() => add(x, parameter(3)), [0, 3]);
    await expectEmpty(() => div(x, parameter(0, 1)), [0, 3]);
    await expectEmpty(() => minimum(x, parameter()), [0, 3]);
    await expectEmpty(() => exp(x), [0, 3]);
    await expectEmpty(() => affine(x, 2, 1), [0, 3]);
    await expectEmpty(() => clamp(x, 0, 1), [0, 3]);
    await expectEmpty(() => swiglu(x, x), [0, 3]);
    await expectEmpty(() => reshape(x, [3, 0]), [3, 0]);
    await expectEmpty(() => slice(parameter(5, 3), 0, 2, 2), [0, 3]);
    await expectEmpty(() => concat([x, x], 0), [0, 3]);
    await expectEmpty(() => expand(parameter(1, 3), [0, 3]), [0, 3]);
    await expectEmpty(() => transpose(x, 0, 1), [3, 0]);
    await expectEmpty(() => gatherRows(parameter(5, 3), i(0)), [0, 3]);
    await expectEmpty(() => sumAxis(x, 1), [0]);
    await expectEmpty(() => matmul(x, parameter(3, 4)), [0, 4]);
    await expectEmpty(() => matmul(f(0, 2, 3), parameter(0, 3, 4)), [0, 2, 4]);
    await expectEmpty(() => linear(x, w(), parameter(4)), [0, 4]);
    await expectEmpty(() => groupedLinear(x, parameter(4, 2, 3), d.offsets), [0, 2]);
    await expectEmpty(() => rmsNorm(x, parameter(3), 1e-6), [0, 3]);
    await expectEmpty(() => rope(parameter(0, 2, 2), i(0), tables, { ...halves, dims: 2 }), [0, 2, 2]);
    await expectEmpty(() => embedding(w(), i(0)), [0, 3]);
    await expectEmpty(() => crossEntropy(x, i(0)), [0]);
    await expectEmpty(() => entropy(x), [0]);
    await expectEmpty(() => softmax(x), [0, 3]);
    await expectEmpty(() => attention(parameter(0, 2, 3), f(0, 1, 3), f(0, 1, 2), { first: i(0), last: i(0), scale: 1 }), [0, 2, 2]);
    await expectEmpty(
      () => attentionStrided({ q: f(0, 1, 4), k: rows(f(0, 4)), v: rows(f(0, 4)), first: i(0), last: i(0), S: 0, G: 1, Dv: 4, scale: 1 }),
      [0, 1, 4],
    );
    await expectEmpty(() => route(parameter(0, 4), f(4), noOptions).weights, [0, 2]);
    await expectEmpty(() => expertGather(x, d, 2), [0, 3]);
    await expectEmpty(() => expertCombine(x, d, parameter(0, 2)), [0, 3]);
    scatterRows(f(4, 3), f(0, 3), i(0));
  });

  test("sums over nothing are zeros", async () => {
    const results = scope(() => [
      sumAxis(f(0, 3), 0),
      sum(f(0, 3)),
      sumSquares(f(0)),
      matmul(f(2, 0), f(0, 3)),
      linear(f(2, 0), f(3, 0), f(3)),
      embedding(f(0, 3), i(2)),
      gatherRows(f(0, 3), i(2)),
      attention(f(2, 1, 3), f(0, 1, 3), f(0, 1, 2), { first: i(2), last: i(2), scale: 1 }),
      expertLoad(i(0, 2), 1, 4),
    ]);
    held(results[0] as Tensor);
    made.push(...results);
    for (const result of results) {
      const values = [...(await read(result))];
      expect(values.length).toBeGreaterThan(0);
      expect(values.every((value) => value === 0)).toBe(true);
    }
  });

  test("gradients flow around an empty part", async () => {
    const p = parameter(2, 3);
    scope(() => backward(trackGradients(() => sum(concat([exp(slice(p, 0, 1, 1)), affine(p, 3)], 0)))));
    expect([...(await read(p.grad as Tensor))]).toEqual([3, 3, 3, 3, 3, 3]);
  });
});
