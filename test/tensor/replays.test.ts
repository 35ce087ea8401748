// Bodies that are recorded once and played afterwards: the same numbers as a fresh recording, whatever happens in between to inputs, weights and memory.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { add } from "../../src/ops/binary.ts";
import { gatherRows, scatterRows } from "../../src/ops/gather-rows.ts";
import { linear } from "../../src/ops/matmul.ts";
import { softmax } from "../../src/ops/softmax.ts";
import { exp, tanh } from "../../src/ops/unary.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { Replays } from "../../src/tensor/replays.ts";
import { dispose, emptyPacked, fromArray, read, scope, type Tensor, write } from "../../src/tensor/tensor.ts";
import { noGradients } from "../../src/tensor/tracking.ts";

let device: Device;
beforeAll(async () => {
  device = await openWasm(nodeHost(), { threads: 2 });
});
afterAll(() => device.close());

const numbers = (count: number, seed: number) => Array.from({ length: count }, (_, i) => Math.sin(i * 1.3 + seed));

/** Runs of a body under one key, and how many of them were played and not recorded. */
function counting(most?: number) {
  let bodies = 0;
  let calls = 0;
  const replays = new Replays(device, most);
  const run = async (key: string, body: () => readonly Tensor[]): Promise<number[][]> => {
    calls++;
    const results = noGradients(() =>
      scope(() =>
        replays.run(key, () => {
          bodies++;
          return body();
        }),
      ),
    );
    const read_ = await Promise.all(results.map(async (x) => [...(await read(x))]));
    dispose(...results);
    return read_;
  };
  return { run, replays, played: () => calls - bodies };
}

describe("on wasm", () => {
  test("inputs are read anew, results are those of a fresh body", async () => {
    const { run, replays, played } = counting();
    const before = device.memory().used;
    const x = fromArray(device, numbers(24, 0), [6, 4]);
    const w = fromArray(device, numbers(20, 9), [5, 4]);
    const body = () => {
      const y = linear(tanh(x), w);
      return [softmax(y), exp(y)];
    };
    for (let i = 0; i < 6; i++) {
      write(x, numbers(24, i));
      const fresh = await Promise.all(noGradients(() => scope(body)).map(async (y) => [...(await read(y))]));
      expect(await run("a", body)).toEqual(fresh);
    }
    // The copy of w that products read is made by the first, which was not through `run`.
    expect(played()).toBe(5);
    replays.dispose();
    dispose(x, w);
    expect(device.memory().used).toBeLessThanOrEqual(before + 4096);
  });

  test("a weight that is written: recorded anew once, then played again", async () => {
    const { run, replays, played } = counting();
    const x = fromArray(device, numbers(8, 1), [2, 4]);
    const w = fromArray(device, numbers(12, 2), [3, 4]);
    const body = () => [linear(x, w)];
    const [first] = await run("a", body);
    const [second] = await run("a", body);
    expect([second, played()]).toEqual([first, 0]); // the first packed w, so it could not be played
    expect([(await run("a", body))[0], played()]).toEqual([first, 1]);
    write(w, numbers(12, 3));
    const [changed] = await run("a", body);
    const expected = numbers(12, 3).map(Math.fround);
    for (let n = 0; n < 3; n++) {
      const sum = [0, 1, 2, 3].reduce((s, k) => s + Math.fround(Math.sin(k * 1.3 + 1)) * (expected[4 * n + k] as number), 0);
      expect(changed?.[n]).toBeCloseTo(sum, 5);
    }
    expect(played()).toBe(1);
    expect([(await run("a", body))[0], played()]).toEqual([changed, 2]); // the recording is good again: the copy is current
    replays.dispose();
    dispose(x, w);
  });

  test("what others allocate between two plays is not touched, and does not touch", async () => {
    const { run, replays, played } = counting();
    const x = fromArray(device, numbers(4000, 1), [40, 100]);
    const body = () => [exp(add(tanh(x), x))];
    const [first] = await run("a", body);
    const others: Tensor[] = [];
    for (let i = 0; i < 5; i++) {
      others.push(fromArray(device, numbers(4000, i), [4000]));
      expect((await run("a", body))[0]).toEqual(first);
    }
    expect(played()).toBe(5);
    for (const [i, other] of others.entries()) expect([...(await read(other))]).toEqual(numbers(4000, i).map(Math.fround));
    replays.dispose();
    dispose(x, ...others);
  });

  test("two of them on one device, alternating without a read in between", async () => {
    const [one, two] = [new Replays(device), new Replays(device)];
    const x = fromArray(device, numbers(600, 1), [600]);
    const y = fromArray(device, numbers(600, 2), [600]);
    for (let i = 0; i < 3; i++) {
      const [a] = noGradients(() => one.run("a", () => [exp(tanh(x))])) as [Tensor];
      const [b] = noGradients(() => two.run("b", () => [exp(tanh(y))])) as [Tensor];
      const expected = (seed: number) => numbers(600, seed).map((v) => Math.exp(Math.tanh(v)));
      for (const [result, seed] of [[a, 1] as const, [b, 2] as const]) {
        const got = await read(result);
        for (const [k, value] of expected(seed).entries()) expect(got[k]).toBeCloseTo(value, 5);
      }
      dispose(a, b);
    }
    one.dispose();
    two.dispose();
    dispose(x, y);
  });

  test("a body that writes from the host is never played", async () => {
    const { run, replays, played } = counting();
    const x = fromArray(device, numbers(12, 1), [4, 3]);
    for (let i = 0; i < 4; i++) {
      const [rows] = await run("a", () => [gatherRows(x, fromArray(device, [i], [1], "i32"))]);
      expect(rows).toEqual(
        numbers(12, 1)
          .map(Math.fround)
          .slice(3 * i, 3 * i + 3),
      );
    }
    expect(played()).toBe(0);
    replays.dispose();
    dispose(x);
  });

  describe("rows made ready for packed weights", () => {
    const [M, K, N] = [3, 64, 8];
    let w: Tensor;
    beforeAll(() => {
      w = emptyPacked(device, "f16", [N, K]);
      const halves = new Uint16Array(N * K).map((_, i) => 0x3c00 + (i % 7) * 64); // 1 and a little more
      device.writePacked(w.storage.buffer, 0, new Uint8Array(halves.buffer));
    });
    const product = async (x: Tensor) => {
      const [y] = noGradients(() => scope(() => [linear(x, w)])) as [Tensor];
      const numbersOf = [...(await read(y))];
      dispose(y);
      return numbersOf;
    };
    const inputs = (seed: number) => numbers(M * K, seed);

    test("before a recording are no part of it", async () => {
      const { run, replays, played } = counting();
      const x = fromArray(device, inputs(0), [M, K]);
      await product(x);
      for (let i = 1; i < 5; i++) {
        const [y] = await run("a", () => [linear(x, w)]);
        expect(y).toEqual(await product(x));
        write(x, inputs(i));
      }
      expect(played()).toBe(3);
      replays.dispose();
      dispose(x);
    });

    test("in a recording are not used after it", async () => {
      const { run, replays, played } = counting();
      const x = fromArray(device, inputs(0), [M, K]);
      const other = fromArray(device, inputs(5), [M, K]);
      const expected = await product(x);
      const b = () => [exp(tanh(other)), tanh(other), exp(other)];
      await run("b", b);
      await run("a", () => [linear(x, w)]);
      await run("b", b); // played: over the memory of "a"
      expect([await product(x), played()]).toEqual([expected, 1]);
      replays.dispose();
      dispose(x, other);
    });

    test("are made anew when a play has written their source", async () => {
      const { run, replays, played } = counting();
      const x = fromArray(device, inputs(0), [M, K]);
      const target = fromArray(device, inputs(1), [M, K]);
      const rows = fromArray(device, [2, 0, 1], [M], "i32");
      const body = () => {
        scatterRows(target, tanh(x), rows);
        return [exp(x)];
      };
      for (let i = 0; i < 4; i++) {
        await run("a", body);
        const got = await product(target);
        const same = fromArray(device, await read(target), [M, K]);
        expect(got).toEqual(await product(same));
        // The rows that were made ready last are the target's.
        await product(target);
        dispose(same);
        write(x, inputs(i + 2));
      }
      expect(played()).toBe(3);
      replays.dispose();
      dispose(x, target, rows);
    });

    afterAll(() => dispose(w));
  });

  test("more commands than a list holds", async () => {
    const { run, replays, played } = counting();
    const x = fromArray(device, numbers(16, 1), [16]);
    const body = () => {
      let y = tanh(x);
      for (let i = 0; i < 5000; i++) y = tanh(y);
      return [y];
    };
    const [first] = await run("a", body);
    expect(await run("a", body)).toEqual([first]);
    write(x, numbers(16, 2));
    const [other] = await run("a", body);
    expect(other).not.toEqual(first);
    const [fresh] = noGradients(() => scope(body)) as [Tensor];
    expect([...(await read(fresh))]).toEqual(other);
    expect(played()).toBe(2);
    dispose(fresh, x);
    replays.dispose();
  });

  test("the ones used last are kept", async () => {
    const { run, replays, played } = counting(2);
    const x = fromArray(device, [1], [1]);
    for (const key of ["a", "b", "a", "c", "a", "b"]) await run(key, () => [exp(x)]);
    expect(played()).toBe(2); // a, a; b had to go for c
    replays.forget();
    await run("a", () => [exp(x)]);
    expect(played()).toBe(2);
    replays.dispose();
    dispose(x);
  });

  test("results that are freed after their recordings were: their memory is free once", async () => {
    const used = device.memory().used;
    const x = fromArray(device, numbers(300, 1), [300]);
    for (const isPlayed of [false, true]) {
      const replays = new Replays(device);
      if (isPlayed) dispose(...noGradients(() => scope(() => replays.run("a", () => [exp(x)]))));
      const results = noGradients(() => scope(() => replays.run("a", () => [exp(x)])));
      replays.dispose();
      dispose(...results);
      // Nothing is handed out twice.
      const blocks = Array.from({ length: 8 }, (_, i) => fromArray(device, new Float32Array(300).fill(i), [300]));
      for (const [i, block] of blocks.entries()) expect(new Set(await read(block))).toEqual(new Set([i]));
      dispose(...blocks);
    }
    dispose(x);
    expect(device.memory().used).toBe(used);
  });

  test("a body that throws: its memory is free, and the next one is recorded as always", async () => {
    const { run, replays } = counting();
    const x = fromArray(device, numbers(4, 1), [4]);
    const body = () => [exp(x)];
    const [first] = await run("a", body);
    const used = device.memory().used;
    for (let i = 0; i < 3; i++) {
      const failing = run("b", () => {
        tanh(x);
        throw new RangeError("enough");
      });
      await expect(failing).rejects.toThrow("enough");
    }
    expect(device.memory().used).toBe(used);
    expect(await run("a", body)).toEqual([first]);
    const y = tanh(x);
    dispose(y);
    expect(device.memory().used).toBe(used); // outside a body memory comes from the heap again
    replays.dispose();
    dispose(x);
  });
});

test("a device without recordings runs every body", async () => {
  const reference = openReference();
  const replays = new Replays(reference);
  const x = fromArray(reference, [1, 2], [2]);
  let bodies = 0;
  for (let i = 0; i < 3; i++) {
    const [y] = replays.run("a", () => {
      bodies++;
      return [add(x, x)];
    }) as [Tensor];
    expect([...(await read(y))]).toEqual([2, 4]);
    dispose(y);
  }
  expect(bodies).toBe(3);
  replays.dispose();
});
