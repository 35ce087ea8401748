// N15: sums that rounding could ruin, held to the error bounds that backend.ts states for each kernel, on every build and the reference: a million terms of
// alternating sign, rows of 1e4 ± 1e-3, rotations at position 1,000,000, attention over 32,768 equal keys in each type of cache. What is true is computed
// here in double precision from the numbers as they are stored.

import { afterAll, describe, expect, test } from "vitest";
import type { Device, DeviceBuffer, View } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { availableBuilds } from "../../src/backend/wasm/compile.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { openWebGpu } from "../../src/backend/webgpu/open.ts";
import { type CacheType, cacheRowWords } from "../../src/core/dtype.ts";
import { Random } from "../../src/core/random.ts";
import { parseRope } from "../../src/models/config.ts";
import { makeRopeTables, ropeFrequencies } from "../../src/models/rope-tables.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { dispose } from "../../src/tensor/tensor.ts";
import { testGpu } from "./webgpu-adapter.ts";

/** Half the distance from 1 to the next f32. */
const u = 2 ** -24;
const million = 1_000_000;

/** ±(1 + a little), so that neighbours cancel all but their littles. */
const alternating = Float32Array.from({ length: million }, (_, i) => (i % 2 === 0 ? 1 : -1) * (1 + 1e-3 * Math.sin(i)));
const size = alternating.reduce((sum, x) => sum + Math.abs(x), 0);
/** 1e4 ± 1e-3, as far as f32 can tell: its steps there are 9.8e-4. */
const high = (n: number) => Float32Array.from({ length: n }, (_, i) => 1e4 + (i % 2 === 0 ? 1e-3 : -1e-3));

const host = nodeHost();
const opened: [string, () => Device | Promise<Device>][] = [
  ["reference", () => openReference()],
  ...availableBuilds(host).flatMap((build) =>
    [1, 2].map((threads): [string, () => Device | Promise<Device>] => [
      `wasm ${build}, threads ${threads}`,
      () => openWasm(host, { build, threads }),
    ]),
  ),
  ...(testGpu ? [["webgpu", () => openWebGpu(testGpu as GPU)] satisfies [string, () => Promise<Device>]] : []),
];

describe.each(opened)("N15 on %s", (_, open) => {
  let device: Device | undefined;
  const buffers: DeviceBuffer[] = [];
  afterAll(async () => {
    await device?.close();
  });
  const start = async () => {
    device ??= await open();
    for (const buffer of buffers.splice(0)) device.release(buffer);
    return device;
  };
  const put = (on: Device, data: ArrayLike<number>, dtype: "f32" | "i32" = "f32") => {
    const buffer = on.allocate(dtype, data.length);
    on.write(buffer, 0, Array.isArray(data) ? data : (data as Float32Array));
    buffers.push(buffer);
    return { buffer, offset: 0 };
  };
  const get = async (on: Device, { buffer }: { buffer: DeviceBuffer }) => Array.from(await on.read(buffer, 0, buffer.length));

  test("sumAxis: a million terms of alternating sign", async () => {
    const on = await start();
    const exact = alternating.reduce((sum, x) => sum + x, 0);
    const rows = put(on, [0]);
    on.kernels.sumAxis({ out: rows, x: put(on, alternating), outer: 1, axis: million, inner: 1 });
    expect(Math.abs(((await get(on, rows))[0] as number) - exact)).toBeLessThanOrEqual(260 * u * size);
    // Columns are chains: four columns of a quarter million.
    const columns = put(on, [0, 0, 0, 0]);
    on.kernels.sumAxis({ out: columns, x: put(on, alternating), outer: 1, axis: million / 4, inner: 4 });
    for (const [c, sum] of (await get(on, columns)).entries()) {
      let [want, terms] = [0, 0];
      for (let i = c; i < million; i += 4) {
        want += alternating[i] as number;
        terms += Math.abs(alternating[i] as number);
      }
      expect(Math.abs(sum - want)).toBeLessThanOrEqual((million / 4) * u * terms);
    }
  });

  test("sumSquares: a million terms", async () => {
    const on = await start();
    const out = put(on, [0]);
    on.kernels.sumSquares({ out, x: put(on, alternating), n: million });
    const exact = alternating.reduce((sum, x) => sum + x * x, 0);
    expect(Math.abs(((await get(on, out))[0] as number) / exact - 1)).toBeLessThanOrEqual(2 * u);
  });

  test.each([1, 7])("matmul: chains of a million products of alternating sign, %d rows", async (M) => {
    const on = await start();
    const N = 3;
    // A GPU in software takes ten times as long for so narrow a product.
    const terms = on.info.name === "webgpu" ? alternating.subarray(0, million / 10) : alternating;
    const K = terms.length;
    const a = new Float32Array(M * K);
    for (let m = 0; m < M; m++) a.set(terms, m * K);
    const b = new Float32Array(N * K).fill(1);
    const out = put(on, new Float32Array(M * N));
    on.kernels.matmul({ out, a: put(on, a), b: put(on, b), M, N, K, transposeB: true });
    const exact = terms.reduce((sum, x) => sum + x, 0);
    const size = terms.reduce((sum, x) => sum + Math.abs(x), 0);
    const got = await get(on, out);
    expect(got.every((value) => value === got[0])).toBe(true);
    expect(Math.abs((got[0] as number) - exact)).toBeLessThanOrEqual((K + 1) * u * size);
  });

  test("rmsNorm, softmax, entropy, crossEntropy: rows of 1e4 ± 1e-3", async () => {
    const on = await start();
    const width = 32_768;
    const data = high(width);
    const x = put(on, data);
    const out = put(on, new Float32Array(width));
    on.kernels.rmsNorm({ out, x, weight: put(on, new Float32Array(width).fill(1)), rows: 1, width, eps: 1e-6 });
    const rms = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / width + Math.fround(1e-6));
    const offNorm = (await get(on, out)).map((value, i) => Math.abs(value * (rms / (data[i] as number)) - 1));
    expect(Math.max(...offNorm)).toBeLessThanOrEqual((width / 16 + 8) * u);

    const top = Math.max(...data);
    const exps = Array.from(data, (value) => Math.exp(value - top));
    const total = exps.reduce((sum, value) => sum + value, 0);
    on.kernels.softmax({ out, x, rows: 1, width });
    const offShare = (await get(on, out)).map((value, i) => Math.abs((value * total) / (exps[i] as number) - 1));
    expect(Math.max(...offShare)).toBeLessThanOrEqual((width / 4 + 16) * u);

    const [loss, lse, entropy] = [put(on, [0]), put(on, [0]), put(on, [0])];
    on.kernels.crossEntropy({ loss, lse, logits: x, targets: put(on, [1], "i32"), rows: 1, vocab: width });
    const wanted = top + Math.log(total);
    const bound = (width / 4 + 16) * u + wanted * u;
    expect(Math.abs(((await get(on, lse))[0] as number) - wanted)).toBeLessThanOrEqual(bound);
    expect(Math.abs(((await get(on, loss))[0] as number) - (wanted - (data[1] as number)))).toBeLessThanOrEqual(bound + wanted * u);
    on.kernels.entropy({ out: entropy, logits: x, rows: 1, vocab: width });
    const exact = -exps.reduce((sum, value) => sum + (value / total) * Math.log(value / total), 0);
    expect(Math.abs(((await get(on, entropy))[0] as number) - exact)).toBeLessThanOrEqual((width / 4 + 32) * u * exact);
  });

  test("rope: at position 1,000,000, with the tables of the models", async () => {
    const on = await start();
    const [dims, position] = [8, million];
    const rope = parseRope({ rope_theta: 1e4 });
    const tables = makeRopeTables(on, rope, dims, position + 1);
    const x = Float32Array.from({ length: dims }, (_, d) => Math.sin(d + 1));
    const out = put(on, new Float32Array(dims));
    const shape = { rows: 1, heads: 1, width: dims, offset: 0, dims, interleaved: false, xRowStride: dims, outRowStride: dims };
    const [cos, sin] = [tables.cos, tables.sin].map(({ storage }) => ({ buffer: storage.buffer, offset: 0 })) as [View, View];
    on.kernels.rope({ out, x: put(on, x), positions: put(on, [position], "i32"), cos, sin, tableRows: position + 1, ...shape });
    const got = await get(on, out);
    for (const [i, frequency] of ropeFrequencies(rope, dims).entries()) {
      const angle = position * frequency;
      const [a, b] = [x[i] as number, x[i + dims / 2] as number];
      const bound = 3 * u * (Math.abs(a) + Math.abs(b));
      expect(Math.abs((got[i] as number) - (a * Math.cos(angle) - b * Math.sin(angle)))).toBeLessThanOrEqual(bound);
      expect(Math.abs((got[i + dims / 2] as number) - (b * Math.cos(angle) + a * Math.sin(angle)))).toBeLessThanOrEqual(bound);
    }
    dispose(tables.cos, tables.sin);
  });

  test.each(["f32", "f16", "q8_0"] satisfies CacheType[])("attention: 32,768 equal keys, %s", async (type) => {
    const on = await start();
    const [n, D, H] = [32_768, 32, 2];
    const random = new Random(15);
    const key = Float32Array.from({ length: D }, () => random.normal());
    // 0.1 has no end in binary: every sum of it is rounded, and always the same way.
    const values = [0.1, ...Array.from({ length: D - 1 }, () => random.normal())];
    const [keys, mixed] = [new Float32Array(n * D), new Float32Array(n * D)];
    for (let j = 0; j < n; j++) {
      keys.set(key, j * D);
      mixed.set(values, j * D);
    }
    const stored = (data: Float32Array) => {
      const x = put(on, data);
      if (type === "f32") return { view: x, rowStride: D };
      const words = cacheRowWords(type, D);
      const cache = put(on, new Int32Array(n * words), "i32");
      const index = put(
        on,
        Int32Array.from({ length: n }, (_, i) => i),
        "i32",
      );
      on.kernels.cacheWrite({ cache, x, index, rows: n, width: D, cacheRows: n, type });
      return { view: cache, rowStride: words };
    };
    const [k, v] = [stored(keys), stored(mixed)];
    for (const R of [1, 9]) {
      const q = Float32Array.from({ length: R * H * D }, () => random.normal());
      const [out, lse] = [put(on, new Float32Array(R * H * D)), put(on, new Float32Array(R * H))];
      on.kernels.attention({
        out,
        lse,
        q: put(on, q),
        k: k.view,
        v: v.view,
        first: put(on, new Int32Array(R), "i32"),
        last: put(on, new Int32Array(R).fill(n - 1), "i32"),
        R,
        S: n,
        H,
        G: 1,
        D,
        Dv: D,
        scale: 0.17,
        kRowStride: k.rowStride,
        kHeadStride: D,
        vRowStride: v.rowStride,
        vHeadStride: D,
        ...(type !== "f32" && { cacheType: type }),
      });
      // All weights are equal, so the mix is the value itself, as the cache holds it: within half a step of its type.
      const step = { f32: 0, f16: 2 ** -11, q8_0: 0.5 / 127 }[type];
      const largest = Math.max(...values.map(Math.abs));
      let beyond = 0;
      for (const [i, got] of (await get(on, out)).entries()) {
        const want = Math.fround(values[i % D] as number);
        const off = Math.abs(got - want);
        const ofCache = type === "q8_0" ? step * largest : step * Math.abs(want);
        const ofMix = (n + 16) * u * Math.abs(want) + (type === "q8_0" ? largest / 32766 : 0);
        beyond = Math.max(beyond, off / (ofCache * 1.001 + ofMix));
      }
      expect(beyond).toBeLessThanOrEqual(1);
      for (const [i, got] of (await get(on, lse)).entries()) {
        if (type === "q8_0") break; // its scores round the query too
        let [score, sizes] = [0, 0];
        for (let d = 0; d < D; d++) {
          const product = (q[i * D + d] as number) * (key[d] as number);
          score += 0.17 * product;
          sizes += 0.17 * Math.abs(product);
        }
        const bound = (D / 4 + 4) * u * sizes + (n / 4 + 16) * u + (Math.abs(score) + Math.log(n)) * u + step * sizes;
        expect(Math.abs(got - (score + Math.log(n)))).toBeLessThanOrEqual(bound);
      }
    }
  });
});
