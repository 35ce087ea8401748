// Lists that begin without the caller: it joins them at once, in the middle, after their end or never, and they hold what one thread computes alone, bit
// for bit. A thread that dies before or after that ends in an error.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Device, DeviceBuffer, View } from "../../src/backend/backend.ts";
import { at, dead, done, joining } from "../../src/backend/wasm/control.ts";
import type { SharedHeap } from "../../src/backend/wasm/memory.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { openBegun, openWandering } from "./begun-device.ts";
import { runKernelSuite } from "./kernel-cases.ts";

const n = 96;

/** Commands over four matrices, by drawn numbers: what each reads, earlier ones wrote. */
function recordAll(device: Device, matrices: readonly View[], weight: View, drawn: readonly number[]): void {
  const { kernels } = device;
  for (const number of drawn) {
    const [out, a, b] = [number % 4, (number >> 2) % 4, (number >> 4) % 4].map((i) => matrices[i]) as [View, View, View];
    const other = out === a ? (matrices[((number >> 2) + 1) % 4] as View) : a;
    const third = out === b ? (matrices[((number >> 4) + 2) % 4] as View) : b;
    switch ((number >> 6) % 5) {
      case 0:
        if (out !== other && out !== third) kernels.matmul({ out, a: other, b: third, M: n, N: n, K: n, transposeB: true });
        break;
      case 1:
        kernels.softmax({ out, x: other, rows: n, width: n });
        break;
      case 2:
        kernels.rmsNorm({ out, x: other, weight, rows: n, width: n, eps: 1e-6 });
        break;
      case 3:
        kernels.swiglu({ out, gate: other, up: other, n: n * n });
        break;
      default:
        kernels.binary({ out, a: other, b: other, n: n * n, kind: "add", bRepeat: 1, bPeriod: n * n });
    }
  }
}

type Place = { readonly buffer: DeviceBuffer; readonly offset: number };

function startMatrices(device: Device): { matrices: readonly Place[]; weight: Place } {
  const random = new Random(7);
  const place = (length: number) => {
    const buffer = device.allocate("f32", length);
    device.write(
      buffer,
      0,
      Float32Array.from({ length }, () => random.normal()),
    );
    return { buffer, offset: 0 };
  };
  return { matrices: Array.from({ length: 4 }, () => place(n * n)), weight: place(n) };
}

async function contentsOf(device: Device, places: readonly Place[]): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for (const { buffer } of places) all.push(new Uint8Array((await device.read(buffer, 0, buffer.length)).buffer));
  return all;
}

/** Blocks this thread, as a caller's other work does, until the word is not 0 (or `isEnough`). */
function waitFor(heap: SharedHeap, word: number, isEnough = (value: number) => value !== 0): void {
  const end = performance.now() + 60_000;
  while (!isEnough(Atomics.load(heap.words, word))) if (performance.now() > end) throw new Error("nothing came in a minute");
}

const someCommands = Array.from({ length: 60 }, (_, i) => (i * 2_654_435_761) >>> 20);

async function aloneAfter(rounds: number): Promise<Uint8Array[]> {
  const device = await openWasm(nodeHost(), { threads: 1, build: "simd128" });
  const { matrices, weight } = startMatrices(device);
  for (let i = 0; i < rounds; i++) recordAll(device, matrices, weight, someCommands);
  const contents = await contentsOf(device, matrices);
  await device.close();
  return contents;
}

test("one thread has nobody who could begin", async () => {
  const device = await openWasm(nodeHost(), { threads: 1, build: "simd128" });
  const { matrices, weight } = startMatrices(device);
  recordAll(device, matrices, weight, someCommands);
  expect(device.begin()).toBe(false);
  expect(await contentsOf(device, matrices)).toEqual(await aloneAfter(1));
  await device.close();
});

test("threads that do not run yet, lists that one thread runs quicker, lists without end and nothing at all do not begin", async () => {
  const device = await openWasm(nodeHost(), { threads: 2, build: "simd128" });
  const { matrices, weight } = startMatrices(device);
  const [a, b, c] = matrices as [Place, Place, Place];
  const product = () => device.kernels.matmul({ out: c, a, b, M: n, N: n, K: n, transposeB: true });
  expect(device.begin()).toBe(false);
  device.kernels.softmax({ out: a, x: b, rows: n, width: n });
  expect(device.begin()).toBe(false);
  for (let i = 0; i < 20; i++) product();
  expect(device.begin()).toBe(false);
  for (let i = 0; i < 700; i++) product();
  await device.finish(); // long: all threads run after it
  device.kernels.softmax({ out: a, x: b, rows: n, width: n });
  expect(device.begin()).toBe(false);
  for (let i = 0; i < 20_000; i++) product();
  expect(device.begin()).toBe(false);
  await device.finish();
  recordAll(device, matrices, weight, someCommands);
  await device.close();
});

describe.each([2, 4, 16])("a caller who is one of %i threads", (threads) => {
  test("it joins at once, in the middle of a command and between two, after the end", async () => {
    const { device, heap, pool } = await openBegun(threads);
    const { matrices, weight } = startMatrices(device);
    const marker = device.allocate("f32", 1);
    const word = (marker as unknown as { readonly address: number }).address >> 2;
    let rounds = 0;
    /** A list with the marker in it. */
    const begin = () => {
      heap.words[word] = 0;
      recordAll(device, matrices, weight, someCommands.slice(0, 20));
      device.kernels.fill({ out: { buffer: marker, offset: 0 }, n: 1, value: 1 });
      recordAll(device, matrices, weight, someCommands.slice(20));
      rounds++;
      expect(device.begin()).toBe(true);
    };
    begin();
    await device.finish();
    begin();
    waitFor(heap, done >> 2, () => pool.isDone(pool.submitted));
    await device.finish();
    expect(Atomics.load(heap.words, joining >> 2)).toBe(0);
    // Where the system takes the caller's core away for so long, the others end without it.
    const ways = new Set<string>();
    for (let tries = 0; ways.size < 2 && tries < 500; tries++) {
      begin();
      waitFor(heap, word);
      // Somewhere behind the marker.
      for (let looks = (tries * 997) % 20_000; looks > 0; looks--) Atomics.load(heap.words, 0);
      await device.finish();
      if (Atomics.load(heap.words, joining >> 2) === 2)
        ways.add(Atomics.load(heap.words, at >> 2) === 0 ? "into a command" : "at a barrier");
    }
    expect(ways.size).toBe(2);
    expect(await contentsOf(device, matrices)).toEqual(await aloneAfter(rounds));
    await device.close();
  });

  test("it never comes: what follows finds the list done, and its memory may go to others", async () => {
    const { device, heap, pool } = await openBegun(threads);
    const { matrices, weight } = startMatrices(device);
    const begin = () => {
      recordAll(device, matrices, weight, someCommands);
      expect(device.begin()).toBe(true);
    };
    begin();
    waitFor(heap, done >> 2, () => pool.isDone(pool.submitted));
    begin();
    recordAll(device, matrices, weight, someCommands);
    device.begin(); // false as long as the first is not done, which nobody waits for
    device.release(matrices[3]?.buffer as DeviceBuffer);
    const other = device.allocate("f32", n * n);
    device.write(other, 0, new Float32Array(n * n).fill(3));
    expect((await device.read(other, 5, 1))[0]).toBe(3);
    const kept = matrices.slice(0, 3);
    expect(await contentsOf(device, kept)).toEqual((await aloneAfter(3)).slice(0, 3));
    begin();
    await device.close();
    expect(device.isLost).toBe(false);
  });
});

test.each([
  [2, 150],
  [3, 60],
  [16, 6],
])("random lists on %i threads, which the caller joins at random moments, %i times: the bits of one thread", async (threads, numRuns) => {
  const { device, counts } = await openWandering(threads, 11);
  const alone = await openWasm(nodeHost(), { threads: 1, build: "simd128" });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(fc.nat(319), { minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 4 }), async (lists) => {
      const results: Uint8Array[][] = [];
      for (const one of [device, alone]) {
        const { matrices, weight } = startMatrices(one);
        for (const list of lists) {
          recordAll(one, matrices, weight, list);
          await one.finish();
        }
        results.push(await contentsOf(one, matrices));
        for (const { buffer } of [...matrices, weight]) one.release(buffer);
      }
      expect(results[0]).toEqual(results[1]);
    }),
    { numRuns, seed: 5 },
  );
  expect(counts.begun).toBeGreaterThan(numRuns / 2);
  expect(counts.late).toBeLessThan(counts.begun);
  await device.close();
  await alone.close();
});

runKernelSuite("wasm simd128, three threads that begin without the caller", async () => (await openWandering(3, 3)).device);

describe("threads that die", () => {
  test("before the caller comes", async () => {
    const { device, workers } = await openBegun(2);
    const { matrices, weight } = startMatrices(device);
    await workers[0]?.terminate();
    recordAll(device, matrices, weight, someCommands);
    expect(device.begin()).toBe(true);
    await expect(device.finish()).rejects.toThrow(DeviceError);
    expect(device.isLost).toBe(true);
    await expect(device.finish()).rejects.toThrow(/a thread that died/);
    await device.close();
  }, 60_000);

  test("after it has joined", async () => {
    const { device, workers } = await openBegun(3);
    const { matrices, weight } = startMatrices(device);
    for (let i = 0; i < 8; i++) recordAll(device, matrices, weight, someCommands);
    expect(device.begin()).toBe(true);
    void workers[1]?.terminate(); // it is heard of at the next turn of a loop; the caller waits for its share by then
    await expect(device.finish()).rejects.toThrow(DeviceError);
    await device.close();
  }, 60_000);

  test("by a trap: the caller hears of it where it waits to be let in", async () => {
    const { device, heap, pool } = await openBegun(2);
    const list = heap.fresh(4096);
    heap.words.set([9999, 8], list >> 2); // no such command
    const number = pool.submit(list, list + 8, false, 1, true);
    waitFor(heap, dead >> 2);
    await expect(pool.settle(number)).rejects.toThrow(DeviceError);
    expect(device.isLost).toBe(true);
    expect(device.begin()).toBe(false);
    await device.close();
  }, 60_000);
});
